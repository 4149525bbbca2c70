"""What the kit started and still has to end, so that a failed test leaves nothing running.

Everything with a life of its own (guests, instances, namespaces) registers how it is ended and takes the entry out when
it has ended by itself. What is left is ended when the interpreter exits.
"""

from __future__ import annotations

import atexit
import contextlib
import secrets
from collections.abc import Callable
from pathlib import Path

End = Callable[[], None]

_pending: dict[int, End] = {}


def register(owner: object, end: End) -> None:
    """Run `end` at exit unless `owner` is released before."""
    _pending[id(owner)] = end


def release(owner: object) -> None:
    """`owner` has ended properly."""
    _pending.pop(id(owner), None)


def end_everything() -> int:
    """End what is still registered, the youngest first. Gives how many there were."""
    count = 0
    while _pending:
        _, end = _pending.popitem()
        count += 1
        with contextlib.suppress(Exception):
            end()
    return count


def short_directory(parent: str = "/tmp") -> Path:
    """A new private directory with a short name: a socket in it must fit `sun_path`'s 107 bytes."""
    while True:
        path = Path(parent, f"v4-{secrets.token_hex(3)}")
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
            return path


atexit.register(end_everything)
