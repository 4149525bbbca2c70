"""One engine process, from its start to its clean end."""

from __future__ import annotations

import hashlib
import logging
import os
import queue
import resource
import signal
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.api import parameters as start
from engine.api.fault import Refused
from engine.api.server import Change, Server, error
from engine.dataplane.carrier import LinkNews
from engine.dpdk import eal, library
from engine.dpdk.error_causes import why
from engine.dpdk.layout import MAX_ETHPORTS, MAX_LCORE, UnknownReleaseError
from engine.dpdk.logstream import LogStream
from schema.model import MAX_RELAYS, Action, Pin
from schema.paths import cache_dir, engine_parameters
from schema.system import locks
from schema.system.files import make_directory
from schema.system.locks import wait_until
from schema.system.logs import log_from, log_to_stderr
from schema.system.signals import obey
from schema.system.whole import import_all, own_version
from schema.wire.descriptors import raise_limit
from schema.wire.listening import EndpointError
from schema.wire.notify import Notifier

if TYPE_CHECKING:
    from engine.engine import EngineCore

log = logging.getLogger("vio4wd.engine")
HOUSEKEEPING_S = 0.2
PARAMETERS_WAIT_S = 10.0
HUGEPAGES_WAIT_S = 10.0
EXIT_RESTART = 75
"""sysexits' EX_TEMPFAIL: start me again, with the new parameters."""
SPARE_LCORES = 8
"""Workers that may be added at run time without a restart, on top of one a CPU."""


class ToldToEnd(Exception):  # noqa: N818 - not an error
    """Before it was ready."""


class EngineProcess:
    """State `starting`, `ready` or `stopping`; serves the API in all of them."""

    def __init__(self, shard: int, run_dir: Path, state_dir: Path, put_line: Callable[[bytes], None]) -> None:
        """`put_line` takes DPDK's own messages."""
        self._shard = shard
        self._run_dir = run_dir
        self._state_dir = state_dir
        self._version = own_version()
        self._boot_id = str(uuid.uuid4())
        self._generation = 0
        self._state = "starting"
        self._hugepages = eal.free_hugepages() > 0
        self._dpdk = library.load()
        self._log = LogStream(self._dpdk, put_line)
        self._core: EngineCore | None = None
        self._stop = False
        self._exit = 0
        self._trouble = ""
        """What was wrong in its last housekeeping."""
        self._notifier = Notifier()
        self._server = Server(run_dir, shard, self)

    # What the API's thread reads

    def hello(self) -> dict[str, Any]:
        return {
            "version": self._version,
            "dpdk": self._dpdk.version,
            "shard": self._shard,
            "boot_id": self._boot_id,
            "generation": self._generation,
            "pid": os.getpid(),
            "limits": self._limits(),
            "memory": "hugepages" if self._hugepages else "no-huge",
            "state": self._state,
        }

    def _limits(self) -> dict[str, int]:
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        limits = {"ports": MAX_ETHPORTS, "relays": MAX_RELAYS, "files": files}
        return limits | self._core.ports.costs() if self._hugepages and self._core is not None else limits

    def ready(self) -> bool:
        return self._state == "ready"

    def observe(self) -> dict[str, Any]:
        assert self._core is not None
        return {"boot_id": self._boot_id, "generation": self._generation, **self._core.observe()}

    def counters(self) -> dict[str, Any]:
        assert self._core is not None
        return self._core.counters()

    def capture_read(self, request: Mapping[str, Any]) -> dict[str, Any]:
        assert self._core is not None
        return self._core.captures.read(request)

    # What the main thread does

    def run(self) -> int:
        """Serves until a signal ends it: the exit code."""
        obey(self._on_signal)
        self._server.start()
        try:
            core = self._start()
        except BaseException:
            self._server.stop()
            self._log.end()
            raise
        try:
            self._state = "ready"
            self._server.announce("ready", f"engine:{self._shard}", None)
            self._notifier.ready()
            log.info("ready: DPDK %s, boot %s", self._dpdk.version, self._boot_id)
            self._main_loop(core)
        finally:
            self._end(core)
            self._log.end()
        return self._exit

    def _on_signal(self, number: signal.Signals) -> None:
        log.info("%s: ending", number.name)
        self._stop = True
        self._server.changes.put(None)

    def _start(self) -> EngineCore:
        wanted = self._wait_for_parameters()
        log_from(wanted.engine.log_level)
        if wanted.hugepages:
            self._hugepages = hugepages_come(HUGEPAGES_WAIT_S, lambda: self._stop)
        self._unless_stopped()
        cpus = frozenset(os.sched_getaffinity(0))
        eal_ = eal.Eal(self._dpdk)
        first = [worker.cpu for worker in wanted.workers if worker.cpu in cpus]
        lcores = lcore_cpus(wanted.engine.main_cpu, first, len(cpus))
        eal_.init(
            eal.EalParameters(
                prefix=eal_prefix(self._run_dir, self._shard),
                main_cpu=wanted.engine.main_cpu,
                lcore_cpus=lcores,
                run_dir=self._run_dir,
                hugepages=self._hugepages,
                log_level=eal.log_level(wanted.engine.log_level),
                vfio_vf_token=wanted.engine.vfio_vf_token or None,
            )
        )
        self._eal = eal_
        core = self._build(eal_, wanted, cpus, lcores)
        for cpu in first:
            core.workers.start(cpu)
        self._core = core
        return core

    def _wait_for_parameters(self) -> start.Parameters:
        """Raises ParametersError when nobody has left any that can be read within 10 s."""
        deadline = time.monotonic() + PARAMETERS_WAIT_S
        paths = [engine_parameters(directory, self._shard) for directory in (self._run_dir, self._state_dir)]
        while True:
            self._unless_stopped()
            try:
                return start.read_first(paths)
            except start.ParametersError:
                if time.monotonic() >= deadline:
                    raise
            time.sleep(0.05)

    def _unless_stopped(self) -> None:
        """Raises ToldToEnd."""
        if self._stop:
            raise ToldToEnd

    def _build(
        self, eal_: eal.Eal, wanted: start.Parameters, cpus: frozenset[int], lcores: Mapping[int, int]
    ) -> EngineCore:
        from engine.burst.compiled import burst_size
        from engine.burst.compiled.cache import numba_cache

        burst_size.burst = wanted.engine.burst
        began = time.monotonic()
        with numba_cache(cache_dir(), self._dpdk.version):
            from engine.dataplane.context import Context
            from engine.engine import EngineCore

            context = Context(cpus)
        import_all(("engine", "schema"))
        log.info("burst loops ready after %.1f s", time.monotonic() - began)
        core = EngineCore(context, eal_, wanted.engine, lcores, self._server.announce)

        def guest_events() -> None:
            for event in context.take_events():
                core.on_guest_event(event.kind, event.guest)
            if context.numa.several:
                self._server.changes.put(None)  # buffers may have to follow

        self._server.watch(context.roused.fileno(), guest_events)
        self._watch_links()
        return core

    def _watch_links(self) -> None:
        """Has the main thread do its housekeeping at once when an interface changes: a bond may have to fail over."""
        news = LinkNews()

        def look() -> None:
            news.take()
            self._server.changes.put(None)

        self._server.watch(news.fileno(), look)

    def _main_loop(self, core: EngineCore) -> None:
        look_at = time.monotonic()
        while not self._stop:
            try:
                change = self._server.changes.get(timeout=max(0.0, look_at - time.monotonic()))
                if change is None:  # somebody wants its housekeeping done, or it to stop
                    look_at = time.monotonic()
                else:
                    self._carry_out(core, change)
            except queue.Empty:
                self._housekeeping(core)
                look_at = time.monotonic() + HOUSEKEEPING_S

    def _housekeeping(self, core: EngineCore) -> None:
        """What nobody has foreseen of one resource must not end all relays; said once, not five times a second."""
        try:
            core.housekeeping(time.monotonic())
            self._trouble = ""
        except Exception as trouble:
            if repr(trouble) != self._trouble:
                log.exception("while looking around")
            self._trouble = repr(trouble)

    def _carry_out(self, core: EngineCore, change: Change) -> None:
        from engine.engine import RestartRequested

        began = time.monotonic_ns()
        try:
            if change.request["op"] in core.capture_verbs:
                change.reply({"ok": True, **core.capture_verbs[change.request["op"]](change.request)})
                return
            self._check_generation(change.request)
            action, pin = parse(change.request)
            core.execute(action, pin)
        except RestartRequested:
            log.info("ending to be started again with other parameters")
            self._exit, self._stop = EXIT_RESTART, True
        except Refused as reason:
            change.reply(error(reason.code, str(reason)))
            return
        except Exception:
            log.exception("an action failed")
            change.reply(error("failed", "the action failed inside the engine; its log says why"))
            return
        self._generation += 1
        took_us = (time.monotonic_ns() - began) // 1000
        change.reply({"ok": True, "generation": self._generation, "took_us": took_us})

    def _check_generation(self, request: Mapping[str, Any]) -> None:
        known = (request.get("boot_id"), request.get("generation"))
        if known != (self._boot_id, self._generation):
            raise Refused(
                "stale",
                f"the action was made for boot {known[0]}, generation {known[1]}; "
                f"the engine is at boot {self._boot_id}, generation {self._generation}: observe and plan again",
            )

    def _end(self, core: EngineCore) -> None:
        self._state = "stopping"
        self._notifier.stopping()
        self._server.announce("stopping", f"engine:{self._shard}", None)
        try:
            core.end()
        finally:
            self._server.stop()
        self._eal.cleanup()
        log.info("ended")


def parse(request: Mapping[str, Any]) -> tuple[Action, Pin | None]:
    """The action of an execute request and the pin beside it. Raises Refused."""
    try:
        pin = request.get("pin")
        return Action.from_json(request["action"]), Pin(**pin) if pin is not None else None
    except (KeyError, TypeError, ValueError) as reason:
        raise Refused("bad-request", f"the request carries no action that can be read: {reason}") from reason


def lcore_cpus(main_cpu: int, worker_cpus: list[int], cpus: int) -> dict[int, int]:
    """Worker lcores from 1: the first ones on their CPUs, the others wait on the main CPU until they are needed."""
    count = min(MAX_LCORE - 1, max(len(worker_cpus), cpus) + SPARE_LCORES)
    padded = [*worker_cpus, *[main_cpu] * count]
    return {index + 1: padded[index] for index in range(count)}


def eal_prefix(run_dir: Path, shard: int) -> str:
    """Unique to the run directory, so that several instances live side by side."""
    return f"vio4wd-{hashlib.sha256(str(run_dir.resolve()).encode()).hexdigest()[:8]}-{shard}"


def only_engine(run_dir: Path, shard: int) -> int:
    """The lock that an engine holds while it lives, a descriptor. Raises BlockingIOError when another one has it.

    Its file stays: were it removed at the end, one who had opened it before would hold a lock that nobody else sees.
    """
    lock = locks.take(run_dir / f"engine-{shard}.lock")
    if lock is None:
        raise BlockingIOError
    return lock


def main(shard: int, run_dir: Path, state_dir: Path) -> int:
    """`vio4wd engine`: the exit code."""
    writer = log_to_stderr()
    os.umask(0o077)
    raise_limit()
    try:
        make_directory(run_dir)
        lock = only_engine(run_dir, shard)
    except BlockingIOError:
        log.error("another engine runs in %s; stop it, or choose another VIO4WD_RUN_DIR", run_dir)
        return 1
    except OSError as error:
        log.error("%s can't be used as run directory: %s", run_dir, error)
        return 1
    try:
        return EngineProcess(shard, run_dir, state_dir, writer.put).run()
    except ToldToEnd:
        return 0
    except library.DpdkError as refusal:
        log.error("DPDK cannot be used here: %s", why(refusal).sentence)
        return 1
    except (EndpointError, start.ParametersError, library.DpdkMissingError, UnknownReleaseError) as reason:
        log.error("%s", reason)
        return 1
    finally:
        eal.clear_runtime_directory(run_dir, eal_prefix(run_dir, shard))
        os.close(lock)


def hugepages_come(wait_s: float, stopped: Callable[[], bool]) -> bool:
    """Whether some are free, given the time that the reconciler may need after the start of a host."""
    free = wait_until(lambda: eal.free_hugepages() or (0 if stopped() else None), wait_s, 0.05)
    if not free:
        log.warning("no hugepages are free, although the spec reserves some: going on without, which is slower")
    return bool(free)
