"""One applier at a time, one watch at a time: locks that the kernel lets go of when their holder dies."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schema.system import locks
from schema.system.files import PUBLIC_DIRECTORY, make_directory
from schema.system.locks import is_held as is_held

APPLY = "apply.lock"
WATCH = "watch.lock"


class Locked(Exception):  # noqa: N818 - a state, not a fault
    """Somebody else holds the lock."""


@contextmanager
def locked(path: Path, wait_s: float = 0.0, directory_mode: int = PUBLIC_DIRECTORY) -> Iterator[None]:
    """Holds the lock while the block runs. Its directory is made when missing. Raises Locked when it is not to be had
    within `wait_s`, OSError when the file can't be made."""
    make_directory(path.parent, mode=directory_mode)
    descriptor = _taken(path, time.monotonic() + wait_s)
    try:
        yield
    finally:
        os.close(descriptor)


def _taken(path: Path, deadline: float) -> int:
    while (descriptor := locks.take(path)) is None:
        if time.monotonic() >= deadline:
            raise Locked(f"{_who(locks.holder(path))} holds {path}")
        time.sleep(0.02)
    return descriptor


def _who(process: int | None) -> str:
    return "another process" if process is None else f"process {process}"
