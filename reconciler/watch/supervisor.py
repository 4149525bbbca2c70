"""The engine and the watch loop as children of one process: the one command of a first day.

Neither needs the other to live: an engine forwards while there is no watch, and a watch waits for an engine. So each
that dies is started again, and the other is left alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from reconciler.desired.local import Local
from reconciler.observe.engine_start import left_log_level
from reconciler.observe.engines import known_shards
from reconciler.watch.notify_proxy import NotifyProxy, without_manager
from reconciler.watch.only_run import only_run
from reconciler.watch.restart_policy import AGAIN_AT_ONCE, Child
from schema.paths import run_dir, state_dir, sync_file
from schema.system.logs import log_from
from schema.system.signals import ENDING, Hangup, hangup, heed_others, ignore_others
from schema.system.threads import Bounded, Unanswered

LOG = logging.getLogger("vio4wd.run")

BASE = (sys.executable, "-P", "-m", "reconciler.cli")
"""Without -P it would take modules from the directory that we were started in, which may be anybody's."""
WATCH = "watch"
PR_SET_PDEATHSIG = 1
"""linux/prctl.h"""
HEARD = frozenset({signal.SIGCHLD, *ENDING})
WATCH_ENDS_WITHIN_S = 10.0
"""It may be in the middle of an action."""
ENGINE_ENDS_WITHIN_S = 30.0
"""It takes its ports down one by one."""
KILLED_WITHIN_S = 5.0
"""Whoever has not ended then waits in the kernel."""
LOOK_S = 0.5
"""How often it is looked whether another engine is needed."""

NeededChildren = Callable[[], dict[str, Sequence[str]]]
"""The children that are needed just now beside those that always are, by name, with their command."""


@dataclass(slots=True)
class ChildProcess:
    """A child with its process, if it has one now."""

    child: Child
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    environment: dict[str, str] | None = None
    """None: ours, without what a service manager said to us."""
    inherited: tuple[int, ...] = ()
    """Descriptors that it inherits, beside the standard ones."""
    killed_at: float | None = None
    """It hung and was killed then, and has not ended yet."""
    stuck: bool = False
    """So long that it was said."""
    kill_at: float | None = None
    """It is no longer needed, was told to end, and is killed then."""


def run(local: Local) -> int:
    """Runs engine and watch until told to end; 0, or 1 when one of them had to be killed. Raises RunsAlready."""
    with only_run(run_dir(), str(local.path.absolute())):
        return _run(local)


def _run(local: Local) -> int:
    between = NotifyProxy()
    file = [*(["--defaults"] if local.defaults else []), str(local.path.absolute())]
    watch = ChildProcess(
        Child(WATCH), [*BASE, "watch", *file], environment=between.environment, inherited=between.inherited
    )
    engine = ChildProcess(Child("engine"), [*BASE, "engine"])
    try:
        return keep_up([engine, watch], further_engines(state_dir(), run_dir()), between, _read_anew)
    finally:
        between.close()


def _read_anew() -> None:
    """As `vio4wd sync`: a signal would end a watch that is just being started."""
    with contextlib.suppress(OSError):
        sync_file(run_dir()).touch()


def further_engines(state: Path, run: Path) -> NeededChildren:
    """The first engine is always there; the others while the watch, or an apply, leaves them parameters. A directory
    that is gone, can't be read or does not answer ends none: they go on."""
    latest: dict[str, Sequence[str]] = {}
    reading = Bounded(str(state))

    def wanted() -> dict[str, Sequence[str]]:
        nonlocal latest
        with contextlib.suppress(OSError, Unanswered):
            level, numbers, all_of_them = reading.do(lambda: _left(state, run))
            log_from(level)
            before = {} if all_of_them else latest
            latest = before | {f"engine {number}": [*BASE, "engine", "--shard", str(number)] for number in numbers}
        return latest

    return wanted


def _left(state: Path, run: Path) -> tuple[str, list[int], bool]:
    """The log level, the further engines that parameters were left for, and whether these are all."""
    numbers = [shard for shard in known_shards(run, state) if shard]
    return left_log_level(run, state), numbers, os.access(state, os.X_OK)


def keep_up(
    always: Sequence[ChildProcess],
    wanted: NeededChildren | None = None,
    between: NotifyProxy | None = None,
    read_anew: Callable[[], None] | None = None,
) -> int:
    """Starts these in order and again when they die; ends them when told to, the watch first. As `run`. `read_anew` is
    for SIGHUP where there is no terminal; without it, that ends them too."""
    children = list(always)
    libc = ctypes.CDLL(None, use_errno=True)  # before any fork: a child must not load libraries
    means = hangup()
    ignore_others()
    heard = HEARD if means is Hangup.IGNORED else HEARD | {signal.SIGHUP}
    old = signal.pthread_sigmask(signal.SIG_BLOCK, heard)
    try:
        _until_told_to_end(children, libc, wanted, between, heard, read_anew if means is Hangup.READS_ANEW else None)
    finally:
        if between is not None:
            between.stopping()
        ended = _end_all(children)
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
    return 0 if ended else 1


def _until_told_to_end(
    children: list[ChildProcess],
    libc: ctypes.CDLL,
    wanted: NeededChildren | None,
    between: NotifyProxy | None,
    signals: frozenset[signal.Signals],
    read_anew: Callable[[], None] | None,
) -> None:
    fixed = frozenset(started.child.name for started in children)
    while True:
        now = time.monotonic()
        if wanted is not None:
            _fit(children, fixed, wanted(), now)
        if between is not None:
            _end_silent(between, next(s for s in children if s.child.name == WATCH), now)
        for started in children:
            _reap(started, now)
            if started.process is None and started.kill_at is None and now >= started.child.start_at:
                _start(started, libc)
        due = [s.child.start_at for s in children if s.process is None and s.kill_at is None]
        patience_s = 60.0 if wanted is None else LOOK_S
        wait_s = max(0.0, min(min(due, default=now + patience_s) - time.monotonic(), patience_s))
        heard = _next_signal(signals, wait_s)
        # Stopped and continued past its time-out, CPython's sigtimedwait gives a siginfo that nobody has filled in.
        if heard is None or heard.si_signo not in signals - {signal.SIGCHLD}:
            continue
        if heard.si_signo != signal.SIGHUP or read_anew is None:
            LOG.info("told to end (%s)", signal.Signals(heard.si_signo).name)
            return
        LOG.info("told to read everything anew (SIGHUP)")
        read_anew()


def _next_signal(signals: frozenset[signal.Signals], wait_s: float) -> signal.struct_siginfo | None:
    """None when there was none in time, or the kernel could not say: one that has come is heard with the next call."""
    try:
        return signal.sigtimedwait(signals, wait_s)
    except OSError as error:
        LOG.error("can't wait for signals (%s); it is tried again in %.1f s", error.strerror, LOOK_S)
        time.sleep(LOOK_S)
        return None


def _end_silent(between: NotifyProxy, watch: ChildProcess, now: float) -> None:
    """A watch that hangs is killed; that it ended is noticed like any other end. No other is started before that."""
    if not between.turn(now, watch.child.started) or watch.process is None or watch.process.poll() is not None:
        return
    if watch.killed_at is None:
        LOG.error("watch hangs and is killed; the engines go on")
        watch.process.kill()
        watch.killed_at = now
    elif not watch.stuck and now - watch.killed_at > KILLED_WITHIN_S:
        LOG.error("watch can't be killed: %s; another is started when it has gone", _waits(watch.process.pid))
        watch.stuck = True


def _waits(pid: int) -> str:
    return f"process {pid} waits for a disk or a server that does not answer"


def _fit(children: list[ChildProcess], fixed: frozenset[str], wanted: dict[str, Sequence[str]], now: float) -> None:
    """Makes room for who is wanted now, and tells who is not to end; who has ended is forgotten."""
    for started in list(children):
        if started.child.name in fixed or (started.child.name in wanted and started.kill_at is None):
            continue
        if started.process is None or started.process.poll() is not None:
            LOG.info("%s is not needed any more and has ended", started.child.name)
            children.remove(started)
        elif started.kill_at is None:
            started.process.terminate()
            started.kill_at = now + ENGINE_ENDS_WITHIN_S
        elif now >= started.kill_at:
            started.process.kill()
    names = {started.child.name for started in children}
    for name in sorted(wanted.keys() - names):
        children.insert(
            1, ChildProcess(Child(name), wanted[name])
        )  # behind the first engine: the watch is ended before


def _start(started: ChildProcess, libc: ctypes.CDLL) -> None:
    parent = os.getpid()

    def before_exec() -> None:
        """In the child: hear signals again, and do not outlive the parent, however it ends."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD | {signal.SIGHUP})
        heed_others()
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    environment = started.environment if started.environment is not None else without_manager()
    started.child.has_started(time.monotonic())
    try:
        # A process group of its own: Ctrl-C at the terminal reaches us alone, and we end the two in order.
        started.process = subprocess.Popen(
            started.command,
            process_group=0,
            preexec_fn=before_exec,
            env=environment,
            pass_fds=started.inherited,
        )
    except (OSError, subprocess.SubprocessError) as error:
        # A host that is out of processes or memory for a moment is no reason to end the others, which forward.
        started.child.died(time.monotonic(), 1)
        wait_s = started.child.start_at - started.child.started
        LOG.error("%s can't be started (%s); it is tried again in %.1f s", started.child.name, error, wait_s)
        return
    LOG.info("%s started (pid %d)", started.child.name, started.process.pid)


def _reap(started: ChildProcess, now: float) -> None:
    if started.process is None or (code := started.process.poll()) is None:
        return
    started.process, started.killed_at, started.stuck = None, None, False
    started.child.died(now, code)
    if code == AGAIN_AT_ONCE:
        LOG.info("%s ended to be started with other parameters", started.child.name)
        return
    wait_s = started.child.start_at - now
    LOG.warning("%s ended (%s); it is started again in %.1f s", started.child.name, _how(code), wait_s)


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    known = -code in set(signal.Signals)  # most of the real-time signals have no name
    return f"killed by {signal.Signals(-code).name if known else f'signal {-code}'}"


def _end_all(children: Sequence[ChildProcess]) -> bool:
    """Ends the watch, then all engines at once, which together have to be done when a service manager loses patience.
    Whether all ended by themselves."""
    watch = [started for started in children if started.child.name == WATCH]
    engines = [started for started in children if started.child.name != WATCH]
    return all([*_end(watch, WATCH_ENDS_WITHIN_S), *_end(engines, ENGINE_ENDS_WITHIN_S)])


def _end(children: Sequence[ChildProcess], within_s: float) -> list[bool]:
    running = [(started.child.name, started.process) for started in children if started.process is not None]
    for _, process in running:
        process.terminate()
    deadline = time.monotonic() + within_s
    return [_ended(name, process, deadline) for name, process in running]


def _ended(name: str, process: subprocess.Popen[bytes], deadline: float) -> bool:
    """Whether it ended by itself; else it is killed."""
    try:
        code = process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        LOG.error("%s did not end in time and is killed", name)
        process.kill()
        return _left_behind(name, process)
    LOG.info("%s ended (%s)", name, _how(code))
    return True


def _left_behind(name: str, process: subprocess.Popen[bytes]) -> bool:
    """False: it did not end by itself."""
    try:
        process.wait(KILLED_WITHIN_S)
    except subprocess.TimeoutExpired:
        LOG.error("%s can't be killed and is left behind: %s", name, _waits(process.pid))
    return False
