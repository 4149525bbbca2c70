"""Pools of packet buffers."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, replace

from engine.dpdk.layout import PKTMBUF_HEADROOM
from engine.dpdk.library import Dpdk, DpdkError, function, rte_errno

CACHE_MBUFS = 512
"""Per-lcore cache, the most that DPDK allows: well above a burst, so that buffers still warm in the CPU's cache come
back first (worth 10 to 20 % at 64 B)."""
ANY_SOCKET = -1
STANDARD_ROOM_BYTES = 2048
"""What any driver takes for frames of 1500 bytes and less."""


@dataclass(frozen=True, slots=True)
class Pool:
    name: str
    address: int
    mbufs: int
    short_of: int | None = None
    """The NUMA node that the pool was to lie on, where there was no memory; it lies on another one then."""


class Mbufs:
    """Makes and frees pools; names are unique within the process."""

    def __init__(self, dpdk: Dpdk) -> None:
        self._dpdk = dpdk
        self._create = function(
            dpdk.mbuf,
            "rte_pktmbuf_pool_create",
            ctypes.c_void_p,
            ctypes.c_char_p,
            ctypes.c_uint,
            ctypes.c_uint,
            ctypes.c_uint16,
            ctypes.c_uint16,
            ctypes.c_int,
        )
        self._free = function(dpdk.mempool, "rte_mempool_free", None, ctypes.c_void_p)
        self._available = function(dpdk.mempool, "rte_mempool_avail_count", ctypes.c_uint, ctypes.c_void_p)
        self._free_bulk = function(dpdk.mbuf, "rte_pktmbuf_free_bulk", None, ctypes.c_void_p, ctypes.c_uint)

    def create(self, name: str, mbufs: int, room_bytes: int, numa_node: int = ANY_SOCKET) -> Pool:
        """A pool of buffers that hold `room_bytes` behind the headroom, all on one node if one is given. Raises
        DpdkError (ENOMEM: no hugepages there)."""
        size = PKTMBUF_HEADROOM + room_bytes
        address = self._create(name.encode(), mbufs, CACHE_MBUFS, 0, size, numa_node)
        if not address:
            raise DpdkError(f"rte_pktmbuf_pool_create of {mbufs} buffers", rte_errno(self._dpdk))
        return Pool(name, address, mbufs)

    def create_near(self, name: str, mbufs: int, room_bytes: int, numa_node: int) -> Pool:
        """As `create`, but on another node when this one has no memory."""
        try:
            return self.create(name, mbufs, room_bytes, numa_node)
        except DpdkError:
            if numa_node == ANY_SOCKET:
                raise
            return replace(self.create(name, mbufs, room_bytes), short_of=numa_node)

    def free(self, pool: Pool) -> None:
        """Gives the pool's memory back; none of its buffers may be in use."""
        self._free(pool.address)

    def in_use(self, pool: Pool) -> int:
        available: int = self._available(pool.address)
        return pool.mbufs - available

    def free_mbufs(self, address: int, count: int) -> None:
        """Frees `count` mbufs whose pointers stand at `address`."""
        self._free_bulk(address, count)
