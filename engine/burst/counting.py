"""Counters and mbufs of an entry: what every direction needs."""

from __future__ import annotations

from numba import types

from engine.burst.capture import capture
from engine.burst.compiled import layout as at
from engine.burst.compiled.compiling import called, inlined
from engine.burst.compiled.intrinsics import call_burst, load32, load64, store32, store64
from engine.dpdk import installed
from engine.dpdk.layout import MBUF_F_EXTERNAL, MBUF_F_INDIRECT

_FP, _MBUF = installed.LAYOUT.fp_ops, installed.LAYOUT.mbuf
FP_SIZE, FP_RX, FP_RXQ = _FP.size, _FP.rx_pkt_burst, _FP.rxq_data
FP_TX, FP_TXQ = _FP.tx_pkt_burst, _FP.txq_data
PKT_LEN, OL_FLAGS, POOL = _MBUF.pkt_len, _MBUF.ol_flags, _MBUF.pool
REFCNT_AND_SEGMENTS = _MBUF.refcnt
"""Two words of 16 bits, side by side."""
ONE_AND_ONE = 1 << 16 | 1
NOT_ITS_OWN = MBUF_F_EXTERNAL | MBUF_F_INDIRECT
"""The mbuf's buffer is another's."""
_CACHE = installed.LAYOUT.mempool_cache
LOCAL_CACHE = installed.LAYOUT.mempool.local_cache
CACHE_SIZE, CACHE_MOST, CACHE_LEN, CACHE_OBJS = _CACHE.size, _CACHE.flushthresh, _CACHE.len, _CACHE.objs
_i32, _i64 = types.int32, types.int64
free_mbufs = types.ExternalFunction("rte_pktmbuf_free_bulk", types.void(_i64, _i32))


@inlined
def count(counter: int, packets: int, size: int) -> None:
    store64(counter, load64(counter) + packets)
    store64(counter + 8, load64(counter + 8) + size)


@inlined
def total_bytes(mbufs: int, first: int, last: int) -> int:
    """Sum of the packet lengths of mbufs `first` to `last - 1`; they must not have been handed on."""
    size = 0
    for index in range(first, last):
        size += load32(load64(mbufs + 8 * index) + PKT_LEN)
    return size


@inlined
def close_up(mbufs: int, waiting: int, first: int, last: int) -> None:
    """Moves what was not taken to the front, where it waits in its order; how much stands in the word `waiting`."""
    if first > 0:
        for index in range(first, last):
            store64(mbufs + 8 * (index - first), load64(mbufs + 8 * index))
    store64(waiting, last - first)


@inlined
def cached(pool: int, place: int, mbufs: int, packets: int) -> bool:
    """Writes the mbufs to `place` in a cache of their pool; False when one of them must be freed in another way."""
    for index in range(packets):
        mbuf = load64(mbufs + 8 * index)
        whole = load32(mbuf + REFCNT_AND_SEGMENTS) == ONE_AND_ONE and load64(mbuf + OL_FLAGS) & NOT_ITS_OWN == 0
        if not whole or load64(mbuf + POOL) != pool:
            return False
        store64(place + 8 * index, mbuf)
    return True


@inlined
def recycle(entry: int, mbufs: int, packets: int) -> None:
    """Frees mbufs that the entry's worker received, as DPDK's inline functions do: into its part of the pool's cache.

    Only for the worker itself: nobody else may touch its cache. At 64 B from VF to VM this, the room that an entry
    remembers and the further turns of a round are together worth 7 %.
    """
    pool = load64(load64(entry + at.ENTRY_PORT) + at.PORT_POOL)
    cache = load64(pool + LOCAL_CACHE) + load64(entry + at.ENTRY_LCORE) * CACHE_SIZE
    held = load32(cache + CACHE_LEN)
    if held + packets <= load32(cache + CACHE_MOST) and cached(pool, cache + CACHE_OBJS + 8 * held, mbufs, packets):
        store32(cache + CACHE_LEN, held + packets)
    else:
        free_mbufs(mbufs, packets)


@called
def drop_mbufs(entry: int, counter: int, mbufs: int, packets: int) -> None:
    """Frees `packets` mbufs, counted at the offset `counter`."""
    count(entry + counter, packets, total_bytes(mbufs, 0, packets))
    free_mbufs(mbufs, packets)


@called
def drop(entry: int, counter: int, packets: int) -> None:
    """Frees the first `packets` mbufs of the entry, counted as dropped."""
    drop_mbufs(entry, counter, entry + at.ENTRY_MBUFS, packets)
    store64(entry + at.ENTRY_WAITING, 0)


@inlined
def receive_from_vf(entry: int, fp_ops: int, port_id: int, room: int) -> int:
    """Up to `room` packets into the entry's mbufs, uncounted: how many came. Of several queues, one a turn."""
    fp = fp_ops + (port_id - 1) * FP_SIZE
    queues = load64(load64(entry + at.ENTRY_PORT) + at.PORT_QUEUES)
    queue = 0
    if queues > 1:
        poll = load64(entry + at.ENTRY_NEXT_QUEUE) + 1
        queue = 0 if poll >= queues else poll
        store64(entry + at.ENTRY_NEXT_QUEUE, queue)
    mbufs = entry + at.ENTRY_MBUFS
    received = call_burst(load64(fp + FP_RX), load64(load64(fp + FP_RXQ) + 8 * queue), mbufs, room)
    if received > 0:
        capture(entry, mbufs, received)
    return received
