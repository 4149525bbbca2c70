"""System calls that fail or hang on purpose: strace finds out which calls a process makes on what kind of path, and
has some of them fail. Only threads of the process that is named, and what it starts, are touched."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.kit import cleanup
from tests.kit.waiting import wait_for

HANG = "hang"
HANG_S = 2
ERRORS = ("ENOSPC", "EROFS", "EMFILE", "EACCES", "EIO", "ENOENT", HANG)
IN_A_ROW = 4
"""Calls of one thread that fail."""
_NOT_FOR_FILES = """
    futex mmap munmap mremap mprotect madvise brk exit exit_group rt_sigreturn rt_sigaction rt_sigprocmask
    sigaltstack restart_syscall clock_nanosleep nanosleep sched_yield set_robust_list rseq set_tid_address
    arch_prctl prctl prlimit64 getpid gettid getppid getuid geteuid getgid getegid umask sysinfo uname
    gettimeofday clock_gettime clock_getres wait4 waitid kill tgkill setsid setpgid sched_setaffinity
    sched_getaffinity getrandom
"""
"""Memory, threads, time and identity: they fail in other ways, or never."""
ONLY_WAIT = frozenset({"poll", "ppoll", "epoll_wait", "epoll_pwait", "select", "pselect6"})
"""They fail with none of these errors; libzmq ends the process if they do."""
LINE = re.compile(r"^(?:\d+\s+)?(\w+)\((.*)")
NAMED = re.compile(r'(?:<(/[^>]*)>, )?"([^"]+)"')
OPENED = re.compile(r"^\d+<(/[^>]*)>")
Paths = dict["Spot", set[str]]


@dataclass(frozen=True, slots=True, order=True)
class Spot:
    """A system call of a process on a kind of path; without one: whatever it is on."""

    process: str
    call: str
    kind: str

    def __str__(self) -> str:
        return f"{self.process} {self.call} {self.kind or '-'}"


@contextlib.contextmanager
def traced(pid: int, *options: str, follow: bool) -> Iterator[list[str]]:
    """Runs strace on a process; what it has said, once the block is left."""
    said: list[str] = []
    with tempfile.TemporaryDirectory(prefix="v4-") as name:
        out = Path(name, "trace")
        line = ["strace", *(["-f"] if follow else []), "-y", "-o", str(out), *options, "-p", str(pid)]
        tracer = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        cleanup.register(tracer, tracer.kill)
        try:
            wait_for("strace to be attached", lambda: _is_traced(pid) or tracer.poll() is not None)
            yield said
        finally:
            cleanup.release(tracer)
            tracer.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                tracer.communicate(timeout=20)
            tracer.kill()
            tracer.wait()
            said += out.read_text(errors="replace").splitlines() if out.exists() else []


def _is_traced(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return "TracerPid:\t0\n" not in Path(f"/proc/{pid}/status").read_text()
    return True


def seen(trace: Iterable[str], process: str, kinds: Mapping[str, str]) -> Paths:
    """The spots of a trace with their paths. `kinds` are names by the beginning of paths; the longest counts."""
    found: Paths = defaultdict(set)
    for line in trace:
        match = LINE.match(line)
        if match is None or match[1] in _NOT_FOR_FILES.split():
            continue
        path = _path(match[2])
        kind = next((kinds[each] for each in sorted(kinds, key=len, reverse=True) if path.startswith(each)), "")
        found[Spot(process, match[1], kind)].update([path] if kind else [])
    return found


def _path(arguments: str) -> str:
    """Which file a call is on, as far as that can be told."""
    opened = OPENED.match(arguments)
    if opened is not None and '"' not in arguments.partition(", ")[2][:1]:
        return opened[1]
    named = NAMED.search(arguments)
    if named is None:
        return ""
    return os.path.join(named[1] or "/", named[2]) if named[2].startswith("/") or named[1] else ""


def faults(found: Iterable[Spot]) -> list[tuple[Spot, str]]:
    """What can become of them."""
    return [(spot, error) for spot in sorted(found) for error in ERRORS if error == HANG or spot.call not in ONLY_WAIT]


def fault(spot: Spot, paths: set[str], error: str, first: int) -> list[str]:
    """strace's options for it, from the `first` call on."""
    how = f"delay_enter={HANG_S}s" if error == HANG else f"error={error}"
    last = first if error == HANG else first + IN_A_ROW - 1
    only = [word for path in sorted(paths)[:40] for word in ("-P", path)]
    return [*only, "-e", f"trace={spot.call}", "-e", f"inject={spot.call}:{how}:when={first}..{last}"]
