"""A host's hugepages without the kernel: pages by NUMA node, of which a node can have so many and some are in use, and
mounts as a list. Directories are real."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.host.hugetlb import HUGETLBFS, Entry, Hugetlb, Pool


@dataclass
class FakeHugetlb(Hugetlb):
    """`room` is how many pages each node can have at most."""

    live: dict[str, list[int]] = field(default_factory=lambda: {"2M": [0, 0]})
    room: dict[str, list[int]] = field(default_factory=lambda: {"2M": [1000, 1000]})
    used: dict[str, list[int]] = field(default_factory=lambda: {"2M": [0, 0]})
    promised: int = 0
    available: int = 2**40
    maps: int = 65530
    boot: str = "first"
    mounted: dict[str, Entry] = field(default_factory=dict)
    busy: set[str] = field(default_factory=set)
    writes: list[str] = field(default_factory=list)
    """Everything that was told to the kernel."""

    def sizes(self) -> tuple[str, ...]:
        return tuple(self.live)

    def pool(self, size: str) -> Pool:
        return Pool(tuple(self.live[size]), tuple(self.used[size]), self.promised)

    def reserve(self, size: str, total: int) -> None:
        """As the kernel: node after node, one page each, as long as one has room."""
        self.writes.append(f"{size}={total}")
        live, room = self.live[size], self.room[size]
        while sum(live) < total and live != room:
            for node in range(len(live)):
                live[node] += live[node] < room[node] and sum(live) < total

    def reserve_on(self, size: str, node: int, pages: int) -> None:
        self.writes.append(f"{size}@{node}={pages}")
        assert pages >= self.used[size][node], "the kernel would make surplus pages of those in use"
        self.live[size][node] = min(pages, self.room[size][node])

    def available_bytes(self) -> int:
        return self.available

    def max_maps(self) -> int:
        return self.maps

    def set_max_maps(self, count: int) -> None:
        self.writes.append(f"max_map_count={count}")
        self.maps = count

    def boot_id(self) -> str:
        return self.boot

    def entries(self) -> dict[str, Entry]:
        return dict(self.mounted)

    def mount(self, path: str, size: str) -> None:
        assert Path(path).is_dir()
        self.writes.append(f"mount {path} {size}")
        self.mounted[path] = Entry(path, HUGETLBFS, size)

    def unmount(self, path: str) -> None:
        if path in self.busy:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), path)
        self.writes.append(f"unmount {path}")
        del self.mounted[path]

    def reboot(self) -> None:
        """Nothing of it survives."""
        self.boot += " and another"
        self.mounted.clear()
        for pages in self.live.values():
            pages[:] = [0] * len(pages)
