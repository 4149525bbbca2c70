"""The process's own descriptors, and how many it may have."""

from __future__ import annotations

import contextlib
import os
import resource

KEPT = 512
"""For what is there already: a guest of 32 queue pairs takes 202 of them, a VF about ten, a client of the API one."""
STANDARD = 3
"""stdin, stdout and stderr are inherited by whatever is run."""


def most() -> int:
    """The number of a descriptor from which on no guest is let in."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(limit - KEPT, limit // 2)


def claim() -> None:
    """Marks all that is open now as our own: what is not marked when a guest's connection ends is taken for lost
    (`engine.burst.vhost.connection.count_lost`)."""
    for fd in map(int, os.listdir("/proc/self/fd")):
        if fd >= STANDARD:
            with contextlib.suppress(OSError):
                os.set_inheritable(fd, False)
