"""A vio4wd of one's own: directories, spec file, processes, and a look at what it left behind."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from unittest import mock

from engine.api.client import EngineClient, EngineError, EngineUnavailable, Observation
from reconciler import cli
from reconciler.desired.local import Local
from reconciler.desired.resolve import Unread, read_now
from reconciler.host.host import ThisHost
from reconciler.observe.engines import Engines
from reconciler.planning.host_plan import HostPlan, plan_host
from schema import SpecError
from schema.model import State
from state.store import Store
from tests.kit import cleanup
from tests.kit.paths import ROOT, SHARED_CACHE
from tests.kit.spec_file import RelayLine, save, spec_text
from tests.kit.system import host
from tests.kit.waiting import wait_for

READY_S = 120.0
"""A first start compiles, on a machine that may be busy."""


class LeftBehindError(AssertionError):
    """An instance has ended and something of it is still there."""


class Instance:
    """One vio4wd with run, state and socket directories under a short temporary one.

    Nothing runs after `with Instance(...)` alone: `run()`, or `start("engine")` and `start("watch", FILE)`, start it.
    Leaving the block ends everything, and raises `LeftBehindError` when sockets or processes stay.
    """

    def __init__(self, spec: str = "", cache: Path = SHARED_CACHE) -> None:
        self.directory = cleanup.short_directory()
        self.run_dir = self._made("r")
        self.state_dir = self._made("s")
        self.sockets = self._made("v")
        self.file = self.directory / "vio4wd.yaml"
        self.cache = cache
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.most_descriptors: int | None = None
        """How many what is started may have open; None: as many as this process."""
        self._engines: Engines | None = None
        if spec:
            self.save(spec)

    @classmethod
    def relaying(cls, relays: Sequence[RelayLine], cache: Path = SHARED_CACHE, **keys: Any) -> Instance:
        """An instance whose file has these relays; `keys` as `spec_text` takes them."""
        instance = cls(cache=cache)
        instance.relay(relays, **keys)
        return instance

    def _made(self, name: str) -> Path:
        path = self.directory / name
        path.mkdir()
        return path

    def __enter__(self) -> Self:
        cleanup.register(self, self.kill)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            self.terminate()
            if kind is None:
                self.check_nothing_left()
        finally:
            self.kill()

    @property
    def environment(self) -> dict[str, str]:
        own = {
            "VIO4WD_RUN_DIR": str(self.run_dir),
            "VIO4WD_STATE_DIR": str(self.state_dir),
            "VIO4WD_CACHE_DIR": str(self.cache),
            "PYTHONPATH": str(ROOT),
        }
        return {**os.environ, **own}

    def save(self, text: str) -> None:
        """Save the spec file, atomically."""
        save(self.file, text)

    def relay(self, relays: Sequence[RelayLine], **keys: Any) -> None:
        """Save a spec with these relays; `keys` as `spec_text` takes them."""
        self.save(spec_text(relays, self.sockets, **keys))

    def socket(self, relay: int) -> Path:
        """The socket of a relay that names none."""
        return self.sockets / f"vm{relay}.sock"

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "reconciler", *arguments]

    def start(self, *arguments: str, name: str = "") -> subprocess.Popen[bytes]:
        """Start a command that stays; what it says goes to <name>.log, its name is the first argument by default."""
        name = name or arguments[0]
        most = self.most_descriptors
        limit = ["prlimit", f"--nofile={most}:{most}"] if most else []
        with (self.directory / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [*limit, *self.command(*arguments)],
                env=self.environment,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.processes[name] = process
        return process

    def run(self, wait: bool = True) -> Self:
        """`vio4wd run FILE`; with `wait` until the file is applied. Raises `WaitTimeoutError` with the log."""
        self.start("run", str(self.file))
        if wait:
            self.wait_applied()
        return self

    def call(self, *arguments: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            self.command(*arguments),
            env=self.environment,
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def report(self, *arguments: str) -> Any:
        """What a command says with `--json`. Raises AssertionError with its words when it failed."""
        done = self.call(*arguments, "--json")
        assert done.returncode == 0, f"{arguments[0]} ended with {done.returncode}: {done.stderr}"
        return json.loads(done.stdout)

    def status(self) -> Any:
        return self._look("status")

    def stats(self) -> Any:
        return self._look("stats")

    def _look(self, command: str) -> Any:
        """As `report`, in this process: tests look again and again, and a Python of its own takes half a second."""
        said = io.StringIO()
        with mock.patch.dict(os.environ, self.environment), contextlib.redirect_stdout(said):
            code = cli.main([command, "--json"])
        assert code == 0, f"{command} ended with {code}: {said.getvalue()}"
        return json.loads(said.getvalue())

    @property
    def engines(self) -> Engines:
        """All its engines."""
        if self._engines is None:
            self._engines = Engines(self.run_dir, self.state_dir)
        return self._engines

    @property
    def client(self) -> EngineClient:
        """Of its first engine."""
        return self.engines.client(0)

    @property
    def engine_pid(self) -> int:
        return self.client.hello().pid

    @property
    def log(self) -> str:
        """What the processes have said so far."""
        return "".join(f"== {path.name}\n{path.read_text()}" for path in sorted(self.directory.glob("*.log")))

    def observed(self) -> Observation | None:
        """What is live, or None while no engine answers."""
        with contextlib.suppress(EngineUnavailable, EngineError):
            return self.client.observe()
        return None

    def to_do(self) -> HostPlan | None:
        """What is still to be done until the file is applied; None while that can't be told."""
        with contextlib.suppress(SpecError, Unread, EngineUnavailable, EngineError):
            with contextlib.closing(Store(self.state_dir)) as store:
                target = read_now(Local(self.file), ThisHost(), store, lambda _: None).target
            return plan_host(target, self.engines.observe_any())
        return None

    def wait_applied(self, timeout_s: float = READY_S) -> None:
        """Wait until the engine matches the file. Raises `WaitTimeoutError` with the log."""
        self._wait("the file to be applied", lambda: self._settled(self.to_do()), timeout_s)

    def wait_state(self, what: str, holds: Callable[[State], bool], timeout_s: float = 30.0) -> None:
        """Wait until what is observed is as `holds` wants it."""
        self._wait(what, lambda: (seen := self.observed()) is not None and holds(seen.state), timeout_s)

    def _settled(self, left: HostPlan | None) -> bool:
        self.check_running()
        return left is not None and not left.actions and not left.missing

    def _wait(self, what: str, probe: Callable[[], bool], timeout_s: float) -> None:
        try:
            wait_for(what, probe, timeout_s)
        except AssertionError as error:
            raise type(error)(f"{error}\n{self.log[-4000:]}") from error

    def check_running(self) -> None:
        """Raises AssertionError when a process has ended that nobody ended."""
        for name, process in self.processes.items():
            assert process.poll() is None, f"vio4wd {name} ended with {process.returncode}\n{self.log[-4000:]}"

    def terminate(self, timeout_s: float = 30.0) -> dict[str, int]:
        """SIGTERM to all processes, watch before engine. Gives their exit statuses."""
        if self._engines is not None:
            self._engines.close()
            self._engines = None
        statuses = {}
        for name in sorted(self.processes, reverse=True):
            process = self.processes.pop(name)
            if process.poll() is None:
                process.terminate()
            try:
                statuses[name] = process.wait(timeout_s)
            except subprocess.TimeoutExpired as error:
                process.kill()
                process.wait()
                raise LeftBehindError(f"vio4wd {name} ignored SIGTERM for {timeout_s:g} s\n{self.log}") from error
        return statuses

    def left_behind(self) -> list[str]:
        """What of this instance is still there though it has ended, in words."""
        nothing = host.Leftovers(*(frozenset[str]() for _ in range(5)))
        found = host.snapshot().naming(str(self.directory)).since(nothing)
        files = [path for path in (*self.sockets.iterdir(), *self.run_dir.rglob("*")) if path.is_socket()]
        files += (self.run_dir / "dpdk").glob("*")  # the EAL's runtime directory
        processes = [f"process: {pid} ({_command(pid)})" for pid in self.pids()]
        return found + [f"file: {path}" for path in files] + processes

    def check_nothing_left(self) -> None:
        """Raises `LeftBehindError` with what is still there."""
        left = self.left_behind()
        if left:
            raise LeftBehindError(f"vio4wd left behind: {'; '.join(left)}\n{self.log[-4000:]}")

    def kill(self) -> None:
        """End everything by force and remove the directory."""
        cleanup.release(self)
        if self._engines is not None:
            self._engines.close()
            self._engines = None
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
                process.wait()
        self.processes.clear()
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)

    def pids(self) -> list[int]:
        """Every process whose environment names this instance: children that outlived their parent included."""
        return [pid for pid in _pids() if self._owns(pid)]

    def _owns(self, pid: int) -> bool:
        with contextlib.suppress(OSError):
            words = Path("/proc", str(pid), "environ").read_bytes().split(b"\0")
            return f"VIO4WD_RUN_DIR={self.run_dir}".encode() in words
        return False


def _command(pid: int) -> str:
    """Empty once it has ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return ""


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").glob("[0-9]*") if int(path.name) != os.getpid()]
