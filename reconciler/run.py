"""The engine and the watch loop as children of one process: the one command of a first day.

Neither needs the other to live: an engine forwards while there is no watch, and a watch waits for an engine. So each
that dies is started again, and the other is left alone.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reconciler.supervise import AGAIN_AT_ONCE, Child

LOG = logging.getLogger("vio4wd.run")

PR_SET_PDEATHSIG = 1
"""linux/prctl.h"""
HEARD = frozenset({signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
END_WITHIN_S: Mapping[str, float] = {"watch": 10.0, "engine": 30.0}
"""A watch may be in the middle of an action, an engine takes its ports down one by one."""


@dataclass(slots=True)
class Started:
    """A child with its process, if it has one now."""

    child: Child
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None


def run(file: Path) -> int:
    """Runs engine and watch until SIGTERM or SIGINT; 0, or 1 when one of them had to be killed."""
    base = [sys.executable, "-m", "reconciler.cli"]
    return keep_up(
        [
            Started(Child("engine"), [*base, "engine"]),
            Started(Child("watch"), [*base, "watch", str(file.absolute())]),
        ]
    )


def keep_up(children: Sequence[Started]) -> int:
    """Starts these in order and again when they die; ends them in reverse when told to. As `run`."""
    libc = ctypes.CDLL(None, use_errno=True)  # before any fork: a child must not load libraries
    old = signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
    try:
        _until_told_to_end(children, libc)
    finally:
        ended = [_end(started) for started in reversed(children)]
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
    return 0 if all(ended) else 1


def _until_told_to_end(children: Sequence[Started], libc: ctypes.CDLL) -> None:
    while True:
        now = time.monotonic()
        for started in children:
            _bury(started, now)
            if started.process is None and now >= started.child.start_at:
                _start(started, libc)
        due = [s.child.start_at for s in children if s.process is None]
        wait_s = max(0.0, min(due) - time.monotonic()) if due else 60.0
        heard = signal.sigtimedwait(HEARD, wait_s)
        if heard is not None and heard.si_signo != signal.SIGCHLD:
            LOG.info("told to end (%s)", signal.Signals(heard.si_signo).name)
            return


def _start(started: Started, libc: ctypes.CDLL) -> None:
    parent = os.getpid()

    def before_exec() -> None:
        """In the child: hear signals again, and do not outlive the parent, however it ends."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    # A process group of its own: Ctrl-C at the terminal reaches us alone, and we end the two in order.
    started.process = subprocess.Popen(started.command, process_group=0, preexec_fn=before_exec)
    started.child.born(time.monotonic())
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
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _patience_s(name: str) -> float:
    return END_WITHIN_S.get(name, 10.0)


def _end(started: Started) -> bool:
    """Whether it ended by itself."""
    process, name = started.process, started.child.name
    if process is None:
        return True
    process.terminate()
    try:
        code = process.wait(_patience_s(name))
    except subprocess.TimeoutExpired:
        LOG.error("%s did not end within %g s and is killed", name, _patience_s(name))
        process.kill()
        process.wait()
        return False
    LOG.info("%s ended (%s)", name, _how(code))
    return True
