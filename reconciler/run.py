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

from reconciler.files import known_shards, left_log_level
from reconciler.gobetween import GoBetween, without_manager
from reconciler.onlyrun import only_run
from reconciler.sources.local import Local
from reconciler.supervise import AGAIN_AT_ONCE, Child
from schema.loglevel import log_from
from schema.paths import run_dir, state_dir

LOG = logging.getLogger("vio4wd.run")

BASE = (sys.executable, "-P", "-m", "reconciler.cli")
"""Without -P it would take modules from the directory that we were started in, which may be anybody's."""
WATCH = "watch"
PR_SET_PDEATHSIG = 1
"""linux/prctl.h"""
HEARD = frozenset({signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
WATCH_ENDS_WITHIN_S = 10.0
"""It may be in the middle of an action."""
ENGINE_ENDS_WITHIN_S = 30.0
"""It takes its ports down one by one."""
LOOK_S = 0.5
"""How often it is looked whether another engine is needed."""

Wanted = Callable[[], dict[str, Sequence[str]]]
"""The children that are needed just now beside those that always are, by name, with their command."""


@dataclass(slots=True)
class Started:
    """A child with its process, if it has one now."""

    child: Child
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    environment: dict[str, str] | None = None
    """None: ours, without what a service manager said to us."""
    inherited: tuple[int, ...] = ()
    """Descriptors that it inherits, beside the standard ones."""
    kill_at: float | None = None
    """It is no longer needed, was told to end, and is killed then."""


def run(local: Local) -> int:
    """Runs engine and watch until SIGTERM or SIGINT; 0, or 1 when one of them had to be killed. Raises RunsAlready."""
    with only_run(run_dir(), str(local.path.absolute())):
        return _run(local)


def _run(local: Local) -> int:
    between = GoBetween()
    file = [*(["--defaults"] if local.defaults else []), str(local.path.absolute())]
    watch = Started(Child(WATCH), [*BASE, "watch", *file], environment=between.environment, inherited=between.inherited)
    try:
        return keep_up([Started(Child("engine"), [*BASE, "engine"]), watch], further_engines(state_dir()), between)
    finally:
        between.close()


def further_engines(state: Path) -> Wanted:
    """The first engine is always there; the others while the watch, or an apply, leaves them parameters. A directory
    that is gone or can't be read says nothing: they go on."""
    latest: dict[str, Sequence[str]] = {}

    def wanted() -> dict[str, Sequence[str]]:
        nonlocal latest
        with contextlib.suppress(OSError):
            os.stat(state)
            log_from(left_log_level(state))
            numbers = [str(shard) for shard in known_shards(state) if shard]
            latest = {f"engine {number}": [*BASE, "engine", "--shard", number] for number in numbers}
        return latest

    return wanted


def keep_up(always: Sequence[Started], wanted: Wanted | None = None, between: GoBetween | None = None) -> int:
    """Starts these in order and again when they die; ends them when told to, the watch first. As `run`."""
    children = list(always)
    libc = ctypes.CDLL(None, use_errno=True)  # before any fork: a child must not load libraries
    old = signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
    try:
        _until_told_to_end(children, libc, wanted, between)
    finally:
        if between is not None:
            between.stopping()
        ended = _end_all(children)
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
    return 0 if ended else 1


def _until_told_to_end(
    children: list[Started], libc: ctypes.CDLL, wanted: Wanted | None, between: GoBetween | None
) -> None:
    fixed = frozenset(started.child.name for started in children)
    while True:
        now = time.monotonic()
        if wanted is not None:
            _fit(children, fixed, wanted(), now)
        if between is not None:
            _end_silent(between, next(s for s in children if s.child.name == WATCH), now)
        for started in children:
            _bury(started, now)
            if started.process is None and started.kill_at is None and now >= started.child.start_at:
                _start(started, libc)
        due = [s.child.start_at for s in children if s.process is None and s.kill_at is None]
        patience_s = 60.0 if wanted is None else LOOK_S
        wait_s = max(0.0, min(min(due, default=now + patience_s) - time.monotonic(), patience_s))
        heard = signal.sigtimedwait(HEARD, wait_s)
        # Stopped and continued past its time-out, CPython's sigtimedwait gives a siginfo that nobody has filled in.
        if heard is not None and heard.si_signo in HEARD - {signal.SIGCHLD}:
            LOG.info("told to end (%s)", signal.Signals(heard.si_signo).name)
            return


def _end_silent(between: GoBetween, watch: Started, now: float) -> None:
    """A watch that hangs is killed; that it ended is noticed like any other end."""
    if between.turn(now, watch.child.started) and watch.process is not None and watch.process.poll() is None:
        LOG.error("watch hangs and is killed; the engines go on")
        watch.process.kill()


def _fit(children: list[Started], fixed: frozenset[str], wanted: dict[str, Sequence[str]], now: float) -> None:
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
        children.insert(1, Started(Child(name), wanted[name]))  # behind the first engine: the watch is ended before


def _start(started: Started, libc: ctypes.CDLL) -> None:
    parent = os.getpid()

    def before_exec() -> None:
        """In the child: hear signals again, and do not outlive the parent, however it ends."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    environment = started.environment if started.environment is not None else without_manager()
    started.child.born(time.monotonic())
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


def _bury(started: Started, now: float) -> None:
    if started.process is None or (code := started.process.poll()) is None:
        return
    started.process = None
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


def _end_all(children: Sequence[Started]) -> bool:
    """Ends the watch, then all engines at once, which together have to be done when a service manager loses patience.
    Whether all ended by themselves."""
    watch = [started for started in children if started.child.name == WATCH]
    engines = [started for started in children if started.child.name != WATCH]
    return all([*_end(watch, WATCH_ENDS_WITHIN_S), *_end(engines, ENGINE_ENDS_WITHIN_S)])


def _end(children: Sequence[Started], within_s: float) -> list[bool]:
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
        process.wait()
        return False
    LOG.info("%s ended (%s)", name, _how(code))
    return True
