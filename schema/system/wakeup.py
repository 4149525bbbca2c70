"""How a loop that waits in poll(2) is woken: by a signal's function, by another thread, by compiled code."""

from __future__ import annotations

import contextlib
import os


class Wakeup:
    """An eventfd. It is readable once somebody has roused it, however often, until the loop has taken note."""

    def __init__(self) -> None:
        """Raises OSError when this process has no descriptor left."""
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        return self._descriptor

    def rouse(self) -> None:
        """Wakes the loop, from any thread."""
        with contextlib.suppress(BlockingIOError):  # it was roused so often that no more can be counted
            os.eventfd_write(self._descriptor, 1)

    def taken(self) -> bool:
        """Whether somebody has roused it since the last call; never waits."""
        with contextlib.suppress(BlockingIOError):
            return os.eventfd_read(self._descriptor) > 0
        return False

    def close(self) -> None:
        """Only once nobody may rouse it any more: another descriptor may have its number then."""
        os.close(self._descriptor)
