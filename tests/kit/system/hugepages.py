"""A host's hugepages as a test finds them, and gives them back; somebody who holds one on a mount."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from reconciler.host.hugetlb import Hugetlb
from tests.kit import cleanup
from tests.kit.system import host

_HOLD = """
import mmap, sys
with open(sys.argv[1], "w+b") as file:
    file.truncate(int(sys.argv[2]))
    page = mmap.mmap(file.fileno(), int(sys.argv[2]))
page[0] = 1
print("held", flush=True)
sys.stdin.read()
"""


class HostHugepages:
    """What this host has at the start of the block it has again at its end, whatever happened in between: pages of
    each size, vm.max_map_count, and no mount under `directory`."""

    def __init__(self, directory: Path) -> None:
        self.kernel = Hugetlb()
        self.directory = directory

    def __enter__(self) -> Self:
        self.found = {size: self.kernel.pool(size).nodes for size in self.kernel.sizes()}
        self.max_maps = self.kernel.max_maps()
        cleanup.register(self, self.give_back)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        cleanup.release(self)
        self.give_back()

    def give_back(self) -> None:
        for path in host.hugetlbfs_mounts():
            if self.directory in path.parents:
                self.kernel.unmount(str(path))
        for size, nodes in self.found.items():
            for node, pages in enumerate(nodes):
                self.kernel.reserve_on(size, node, pages)
        self.kernel.set_max_maps(self.max_maps)

    def total(self, size: str = "2M") -> int:
        return self.kernel.pool(size).total


class Holder:
    """A process that has a page of a mount mapped, as QEMU has a guest's memory, until the block ends."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _HOLD, str(path), str(size_bytes)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        cleanup.register(self, self.end)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"held\n"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        cleanup.release(self)
        self.end()

    def end(self) -> None:
        self._process.communicate()  # closes its standard input, which it waits for
