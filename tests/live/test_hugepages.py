"""Hugepages run out: who needs more says so and is healed when there are some again; who has his own goes on.

The count is the host's: other DPDK processes would suffer from it, so this needs a host without any.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Iterator

import pytest

from tests.kit.runner.repetitions import times
from tests.kit.system import host
from tests.kit.topology import topology
from tests.live.footprint import others
from tests.live.neighbour import neighbour

ROUNDS = times(1, 10)
HUGEPAGE = 2 << 20

pytestmark = pytest.mark.needs("hugepages")


@contextlib.contextmanager
def no_hugepages() -> Iterator[None]:
    """Takes every hugepage that is free."""
    pages = host.free_hugepages_mib() // 2
    fd = os.memfd_create("all-of-them", os.MFD_HUGETLB)
    try:
        os.ftruncate(fd, pages * HUGEPAGE)
        with mmap.mmap(fd, pages * HUGEPAGE, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE):
            yield
    finally:
        os.close(fd)


def test_a_relay_without_memory_costs_no_other_and_heals() -> None:
    if others():
        pytest.skip("needs a host without other DPDK processes")
    with topology((1, 2)) as made:
        made.boot(2, "io")
        with neighbour(made):
            for _ in range(ROUNDS):
                with no_hugepages():
                    made.wire(3)
                    made.save()
                    said = made.wait_condition(3, "Degraded")["message"]
                    assert "no memory for its packet buffers" in said
                made.wait_condition(3, "Pending")
                del made.lines[3]
                made.save()
                made.instance.wait_applied()
