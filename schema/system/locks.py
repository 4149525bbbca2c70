"""Locks: files (flock(2)) that nobody else can open, as whoever can open one can hold its lock; and waiting for one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from schema.system.files import PRIVATE, PUBLIC_DIRECTORY, directory, identity, make_directory

T = TypeVar("T")

APPLY = "apply.lock"
WATCH = "watch.lock"

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_TABLE = Path("/proc/locks")


def take(path: Path) -> int | None:
    """A descriptor that holds this lock until it is closed; None while another process holds it. Raises OSError."""
    while True:
        descriptor = _opened(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        if _is_at(descriptor, path):
            return descriptor
        os.close(descriptor)  # it was replaced meanwhile: its lock is no longer the one


def take_within(path: Path, wait_s: float) -> int | None:
    """As `take`, tried again for so long."""
    return wait_until(lambda: take(path), wait_s, 0.02)


def _opened(path: Path) -> int:
    """The lock's file, made when missing; one that others could open is replaced, since they may hold its lock. Only
    while a process of ours holds that, of an older release, it stays."""
    with directory(path.parent) as folder:
        descriptor = os.open(path.name, _FLAGS, PRIVATE, dir_fd=folder)
        found = os.fstat(descriptor)
        if (found.st_uid == os.geteuid() and not found.st_mode & 0o077) or _held_by_us(found):
            return descriptor
        os.close(descriptor)
        fresh = f".{path.name}.{os.getpid()}"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(fresh, dir_fd=folder)
        descriptor = os.open(fresh, _FLAGS | os.O_EXCL, PRIVATE, dir_fd=folder)
        os.replace(fresh, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        return descriptor


def _is_at(descriptor: int, path: Path) -> bool:
    found = os.fstat(descriptor)
    return (found.st_dev, found.st_ino) == identity(path)


def is_held(path: Path) -> bool:
    """Whether somebody holds this lock now. The kernel tells it to users who can't open the file, too, but not from
    within another PID namespace, nor of every file system: then it is tried."""
    if holder(path) is not None:
        return True
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def holder(path: Path) -> int | None:
    """The process that holds this lock, or held it when it was forked; None when nobody does."""
    try:
        return next(iter(_holders(os.lstat(path))), None)
    except OSError:
        return None


def _held_by_us(found: os.stat_result) -> bool:
    for process in _holders(found):
        with contextlib.suppress(OSError):
            if os.stat(f"/proc/{process}").st_uid == os.geteuid():
                return True
    return False


def _holders(found: os.stat_result) -> list[int]:
    """The processes that hold a lock of this file (proc(5), /proc/locks). Raises OSError."""
    file = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    rows = (line.split() for line in _TABLE.read_text().splitlines())
    return [int(row[4]) for row in rows if len(row) > 5 and row[1] == "FLOCK" and row[5] == file]


class Locked(Exception):  # noqa: N818 - a state, not a fault
    """Somebody else holds the lock."""


@contextmanager
def locked(path: Path, wait_s: float = 0.0, directory_mode: int = PUBLIC_DIRECTORY) -> Iterator[None]:
    """Holds the lock while the block runs. Its directory is made when missing. Raises Locked when somebody else has it
    for `wait_s`, OSError when the file can't be made."""
    make_directory(path.parent, mode=directory_mode)
    descriptor = take_within(path, wait_s)
    if descriptor is None:
        raise Locked(f"{_who(holder(path))} holds {path}")
    try:
        yield
    finally:
        os.close(descriptor)


def _who(process: int | None) -> str:
    return "another process" if process is None else f"process {process}"


def wait_until(answer: Callable[[], T], within_s: float, every_s: float = 0.1) -> T:
    """The first answer that is neither None nor False, or the last one in time. It is asked for at least once."""
    deadline = time.monotonic() + within_s
    while (found := answer()) is None or found is False:
        if time.monotonic() >= deadline:
            break
        time.sleep(every_s)
    return found
