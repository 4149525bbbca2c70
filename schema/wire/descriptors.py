"""How many descriptors this process may have, how many of them clients may take, and one that wakes a loop."""

from __future__ import annotations

import contextlib
import os
import resource

MOST = 65_536
"""Enough for everything here; more would only make children's lives longer that close all of theirs."""
RESERVE = 256
"""For everything else than clients of endpoints."""
ENDPOINTS = 5
LEAST_SLOTS, MOST_SLOTS = 16, 1024


def raise_limit() -> int:
    """Allows this process as many as the host lets it, and returns how many that are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def slots() -> int:
    """How many clients each endpoint may have at a time, by the limit as it is now."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    many = MOST if soft == resource.RLIM_INFINITY else soft
    return max(LEAST_SLOTS, min(MOST_SLOTS, (many - RESERVE) // ENDPOINTS))


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
