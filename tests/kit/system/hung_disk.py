"""A directory that does not answer, as when the server of a network file system has gone: FUSE, with nobody behind."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

from tests.kit import cleanup

MNT_DETACH = 2
"""sys/mount.h"""


@contextlib.contextmanager
def hung(directory: Path) -> Iterator[None]:
    """Whoever looks into it waits until the block is left; then what was there is there again. Needs root."""
    libc = ctypes.CDLL(None, use_errno=True)
    server = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={server},rootmode=40000,user_id=0,group_id=0".encode()
    if libc.mount(b"hung", bytes(directory), b"fuse", ctypes.c_ulong(0), options) != 0:
        os.close(server)
        raise OSError(ctypes.get_errno(), "mount", str(directory))

    def unmount() -> None:
        cleanup.release(server)
        libc.umount2(bytes(directory), MNT_DETACH)
        os.close(server)  # what waits is told that there is no connection

    cleanup.register(server, unmount)
    try:
        yield
    finally:
        unmount()
