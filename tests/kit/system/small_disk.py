"""A disk of a few pages that can be filled, emptied and made read-only: a tmpfs of its own."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.kit import cleanup


class SmallDisk:
    """Mounted at `path` until the block of `small_disk` is left."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fill(self) -> None:
        """Leave no room for another page."""
        with (self.path / "ballast").open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))

    def empty(self) -> None:
        """Give the room back."""
        (self.path / "ballast").unlink(missing_ok=True)

    def read_only(self, on: bool = True) -> None:
        """Raises CalledProcessError when a file there is open for writing."""
        subprocess.run(["mount", "-o", f"remount,{'ro' if on else 'rw'}", str(self.path)], check=True)

    def unmount(self) -> None:
        subprocess.run(["umount", "-l", str(self.path)], check=True)


@contextlib.contextmanager
def small_disk(path: Path, size_kib: int = 512) -> Iterator[SmallDisk]:
    """`path` is made when it is not there. Needs root."""
    path.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_kib}k", "tmpfs", str(path)], check=True)
    disk = SmallDisk(path)
    cleanup.register(disk, disk.unmount)
    try:
        yield disk
    finally:
        cleanup.release(disk)
        disk.unmount()
