"""What a process has in use, and whether others have what is counted for the whole host."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.kit.system import host
from tests.kit.topology import descriptors

GROWTH_KIB = 2048
"""Of ordinary memory: a leak of 10 KiB a round would be as much."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a process has in use."""

    descriptors: int
    """Without those of hugepages: each page is one."""
    memory_kib: int
    """Its own, swapped out or not: pages of files come and go as the kernel likes, 30 MiB of them on some hosts."""
    hugepages_kib: int


def footprint(pid: int) -> Footprint:
    text = Path("/proc", str(pid), "smaps_rollup").read_text()
    sizes = {name: int(kib) for name, kib in re.findall(r"^(\w+):\s+(\d+) kB", text, re.M)}
    hugepages_kib = sizes["Private_Hugetlb"] + sizes["Shared_Hugetlb"]
    ours = [name for name in descriptors(pid) if not name.startswith("/memfd:")]
    return Footprint(len(ours), sizes["Anonymous"] + sizes["Swap"], hugepages_kib)


def others() -> bool:
    """Whether somebody else runs a guest or an engine on this host."""
    words = {Path(word).name for line in host.snapshot().processes for word in line.split()}
    return not words.isdisjoint({"dpdk-testpmd", "engine"})
