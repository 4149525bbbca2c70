"""How a loop that waits is woken from a signal's function or another thread."""

from __future__ import annotations

import contextlib
import os


class Wakeup:
    """Its descriptor is readable once somebody has roused it."""

    def __init__(self) -> None:
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        return self._descriptor

    def rouse(self) -> None:
        with contextlib.suppress(BlockingIOError):  # it wakes up all right
            os.eventfd_write(self._descriptor, 1)

    def taken(self) -> bool:
        """Whether somebody has roused it since the last call."""
        with contextlib.suppress(BlockingIOError):
            return os.eventfd_read(self._descriptor) > 0
        return False
