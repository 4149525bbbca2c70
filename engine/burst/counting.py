"""Counters and mbufs of an entry: what every direction needs."""

from __future__ import annotations

from numba import njit, types

from engine.burst import layout as at
from engine.burst.capture import capture
from engine.burst.intrinsics import call_burst, load32, load64, store64
from engine.dpdk import installed

_FP, _MBUF = installed.LAYOUT.fp_ops, installed.LAYOUT.mbuf
FP_SIZE, FP_RX, FP_RXQ = _FP.size, _FP.rx_pkt_burst, _FP.rxq_data
PKT_LEN = _MBUF.pkt_len
_i32, _i64 = types.int32, types.int64
free_mbufs = types.ExternalFunction("rte_pktmbuf_free_bulk", types.void(_i64, _i32))


@njit(cache=True)
def count(counter: int, packets: int, size: int) -> None:
    store64(counter, load64(counter) + packets)
    store64(counter + 8, load64(counter + 8) + size)


@njit(cache=True)
def total_bytes(mbufs: int, first: int, last: int) -> int:
    """Sum of the packet lengths of mbufs `first` to `last - 1`; they must not have been handed on."""
    size = 0
    for index in range(first, last):
        size += load32(load64(mbufs + 8 * index) + PKT_LEN)
    return size


@njit(cache=True)
def close_up(mbufs: int, waiting: int, first: int, last: int) -> None:
    """Moves what was not taken to the front, where it waits in its order; how much stands in the word `waiting`."""
    if first > 0:
        for index in range(first, last):
            store64(mbufs + 8 * (index - first), load64(mbufs + 8 * index))
    store64(waiting, last - first)


@njit(cache=True)
def drop_mbufs(entry: int, counter: int, mbufs: int, packets: int) -> None:
    """Frees `packets` mbufs, counted at the offset `counter`."""
    count(entry + counter, packets, total_bytes(mbufs, 0, packets))
    free_mbufs(mbufs, packets)


@njit(cache=True)
def drop(entry: int, counter: int, packets: int) -> None:
    """Frees the first `packets` mbufs of the entry, counted as dropped."""
    drop_mbufs(entry, counter, entry + at.ENTRY_MBUFS, packets)
    store64(entry + at.ENTRY_WAITING, 0)


@njit(cache=True)
def receive_from_vf(entry: int, fp_ops: int, port_id: int, room: int) -> int:
    """Up to `room` packets into the entry's mbufs, uncounted: how many came. Of several queues, one a turn."""
    fp = fp_ops + (port_id - 1) * FP_SIZE
    queues = load64(load64(entry + at.ENTRY_PORT) + at.PORT_QUEUES)
    queue = 0
    if queues > 1:
        turn = load64(entry + at.ENTRY_TURN) + 1
        queue = 0 if turn >= queues else turn
        store64(entry + at.ENTRY_TURN, queue)
    mbufs = entry + at.ENTRY_MBUFS
    received = call_burst(load64(fp + FP_RX), load64(load64(fp + FP_RXQ) + 8 * queue), mbufs, room)
    if received > 0:
        capture(entry, mbufs, received)
    return received
