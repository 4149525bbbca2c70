"""A mempool's cache for the compiled code to write to, in place of DPDK's."""

from __future__ import annotations

import ctypes

from engine.burst.compiled.memory import Block
from engine.dpdk.installed import LAYOUT

LCORE = 2
"""Whose part of the cache the entries under test may use."""
MOST = 48
"""What that part holds: one burst always, two of them not."""
GUARD_BYTES = 64


class CachedPool:
    """A struct rte_mempool whose cache has a part for each lcore up to LCORE."""

    def __init__(self) -> None:
        cache = LAYOUT.mempool_cache
        self._pool = Block(LAYOUT.mempool.local_cache + 8)
        self._caches = Block((LCORE + 1) * cache.size)
        self._pool.write(LAYOUT.mempool.local_cache, self._caches.address)
        self._own = LCORE * cache.size
        self._write32(cache.flushthresh, MOST)
        self._guard = self._own + cache.objs + 8 * MOST
        self._caches.write_bytes(self._guard, b"\xa5" * GUARD_BYTES)
        self.address = self._pool.address

    def _write32(self, offset: int, value: int) -> None:
        ctypes.c_uint32.from_address(self._caches.address + self._own + offset).value = value

    def take(self) -> list[int]:
        """The mbufs that were put into the cache; it is empty then."""
        cache = LAYOUT.mempool_cache
        held = ctypes.c_uint32.from_address(self._caches.address + self._own + cache.len).value
        self._write32(cache.len, 0)
        return list((ctypes.c_int64 * held).from_address(self._caches.address + self._own + cache.objs))

    def intact(self) -> bool:
        """Nothing was written behind the cache's end, nor to another lcore's part."""
        others = self._caches.read_bytes(0, self._own)
        return self._caches.read_bytes(self._guard, GUARD_BYTES) == b"\xa5" * GUARD_BYTES and not any(others)
