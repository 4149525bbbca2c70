"""What the kernel says of hugepages and their mounts, and the few ways in which it is told what they are to be.

Sources: the kernel's Documentation/admin-guide/mm/hugetlbpage.rst and Documentation/admin-guide/sysctl/vm.rst.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from schema.model import PAGE_BYTES

HUGETLBFS = "hugetlbfs"


MS_NOSUID, MS_NODEV = 2, 4
"""linux/mount.h; systemd mounts its own with these too."""


@dataclass(frozen=True, slots=True)
class Pool:
    """The hugepages of one size; tuples are by NUMA node."""

    nodes: tuple[int, ...]
    """How many are reserved."""
    used: tuple[int, ...]
    """How many of them somebody has."""
    promised: int = 0
    """How many more somebody has mapped, and gets as soon as he touches them."""

    @property
    def total(self) -> int:
        return sum(self.nodes)


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of /proc/mounts."""

    path: str
    type: str
    page_size: str
    """Of hugetlbfs, as in `PAGE_BYTES`; else empty."""


class Hugetlb:
    """This host's hugepages."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)

    def sizes(self) -> tuple[str, ...]:
        """The page sizes that this host can have."""
        return tuple(size for size in PAGE_BYTES if _folder(size).is_dir())

    def pool(self, size: str) -> Pool:
        """The pages of one size. Raises OSError when the host has none such."""
        found = {int(path.parts[5][4:]): path for path in Path("/sys/devices/system/node").glob(f"node*/{_name(size)}")}
        found = found or {0: _folder(size)}  # a kernel that knows no nodes
        each = [_node(found[node]) if node in found else (0, 0) for node in range(max(found) + 1)]
        promised = _number(_folder(size) / "resv_hugepages")
        return Pool(tuple(nodes for nodes, _ in each), tuple(used for _, used in each), promised)

    def reserve(self, size: str, total: int) -> None:
        """On whichever nodes the kernel finds them; it may find fewer. Raises OSError."""
        (_folder(size) / "nr_hugepages").write_text(str(total))

    def reserve_on(self, size: str, node: int, pages: int) -> None:
        """As `reserve`, on one node."""
        folder = Path(f"/sys/devices/system/node/node{node}/{_name(size)}")
        folder = folder if folder.is_dir() else _folder(size)
        (folder / "nr_hugepages").write_text(str(pages))

    def available_bytes(self) -> int:
        """The memory that is free without swapping."""
        found = re.search(r"^MemAvailable: *(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
        return int(found[1]) * 1024 if found else 0

    def max_maps(self) -> int:
        return _number(Path("/proc/sys/vm/max_map_count"))

    def set_max_maps(self, count: int) -> None:
        Path("/proc/sys/vm/max_map_count").write_text(str(count))

    def boot_id(self) -> str:
        """Another one after each start of the host."""
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()

    def entries(self) -> dict[str, Entry]:
        """What is mounted, by path; of several at one path the uppermost."""
        return {entry.path: entry for entry in parse_mounts(Path("/proc/self/mounts").read_text().splitlines())}

    def mount(self, path: str, size: str) -> None:
        """Raises OSError."""
        options = f"pagesize={size}".encode()
        self._call(self._libc.mount(b"vio4wd", os.fsencode(path), b"hugetlbfs", MS_NOSUID | MS_NODEV, options), path)

    def unmount(self, path: str) -> None:
        """Raises OSError, EBUSY while somebody uses it."""
        self._call(self._libc.umount2(os.fsencode(path), 0), path)

    @staticmethod
    def _call(result: int, path: str) -> None:
        if result != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), path)


def parse_mounts(lines: Iterable[str]) -> Iterable[Entry]:
    """The lines of /proc/mounts, fstab(5)."""
    for line in lines:
        _, path, type_, options = line.split(" ")[:4]
        yield Entry(_unescaped(path), type_, _page_size(options) if type_ == HUGETLBFS else "")


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def _page_size(options: str) -> str:
    """The kernel writes 1024M where mount was given 1G."""
    found = re.search(r"(?:^|,)pagesize=(\w+)", options)
    size = found[1] if found else ""
    return "1G" if size == "1024M" else size


def _name(size: str) -> str:
    return f"hugepages/hugepages-{PAGE_BYTES[size] // 1024}kB"


def _folder(size: str) -> Path:
    return Path("/sys/kernel/mm") / _name(size)


def _node(folder: Path) -> tuple[int, int]:
    """How many are reserved, and how many of them somebody has: surplus ones are nobody's reservation."""
    all_, free = _number(folder / "nr_hugepages"), _number(folder / "free_hugepages")
    return all_ - _number(folder / "surplus_hugepages"), all_ - free


def _number(path: Path) -> int:
    return int(path.read_text())
