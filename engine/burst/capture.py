"""Copies of what a relay receives, for a reader in Python, who may be slow: what has no room is counted as missed."""

from __future__ import annotations

from numba import types

from engine.burst.compiled import layout as at
from engine.burst.compiled.compiling import called, inlined
from engine.burst.compiled.intrinsics import (
    load16,
    load32,
    load64,
    load_acquire,
    rdtsc,
    store64,
    store_release,
)
from engine.dpdk import installed

_MBUF = installed.LAYOUT.mbuf
BUF_ADDR, DATA_OFF, DATA_LEN = _MBUF.buf_addr, _MBUF.data_off, _MBUF.data_len
PKT_LEN, NEXT = _MBUF.pkt_len, _MBUF.next
NO_ROOM = -1

copy = types.ExternalFunction("memcpy", types.int64(types.int64, types.int64, types.int64))


@called
def copy_packet(mbuf: int, to: int, most: int) -> int:
    """Copies up to `most` bytes of a packet, which may be a chain of mbufs: how many it was."""
    copied = 0
    while mbuf != 0 and copied < most:
        size = min(load16(mbuf + DATA_LEN), most - copied)
        copy(to + copied, load64(mbuf + BUF_ADDR) + load16(mbuf + DATA_OFF), size)
        copied += size
        mbuf = load64(mbuf + NEXT)
    return copied


@called
def find_room(ring: int, head: int, tail: int, size: int) -> int:
    """Where in the stream of records one of `size` bytes goes, or NO_ROOM."""
    capacity = load64(ring + at.RING_BYTES)
    offset = head & (capacity - 1)
    start = head if size <= capacity - offset else head + capacity - offset
    if start + size - tail > capacity:
        return NO_ROOM
    if start != head:
        store64(ring + at.RING_RECORDS + offset + at.RECORD_BYTES, offset - capacity)
    return start


@called
def write_record(ring: int, start: int, size: int, tsc: int, mbuf: int, most: int) -> None:
    record = ring + at.RING_RECORDS + (start & (load64(ring + at.RING_BYTES) - 1))
    store64(record + at.RECORD_BYTES, size)
    store64(record + at.RECORD_TSC, tsc)
    store64(record + at.RECORD_LENGTH, load32(mbuf + PKT_LEN))
    store64(record + at.RECORD_CAPTURED, copy_packet(mbuf, record + at.RECORD_HEADER, most))


@called
def fill(ring: int, mbufs: int, packets: int) -> None:
    """Copies the packets into the ring. From the first that has no room on they are missed, uncopied and unread: a
    reader that is slow must not cost the neighbours on this worker more than that."""
    tsc = rdtsc()
    snaplen = load64(ring + at.RING_SNAPLEN)
    head, tail = load64(ring + at.RING_HEAD), load_acquire(ring + at.RING_TAIL)
    for index in range(packets):
        mbuf = load64(mbufs + 8 * index)
        most = min(load32(mbuf + PKT_LEN), snaplen)
        size = at.RECORD_HEADER + ((most + 7) & -8)
        start = find_room(ring, head, tail, size)
        if start == NO_ROOM:
            store64(ring + at.RING_MISSED, load64(ring + at.RING_MISSED) + packets - index)
            break
        write_record(ring, start, size, tsc, mbuf, most)
        head = start + size
    store_release(ring + at.RING_HEAD, head)


@inlined
def capture(entry: int, mbufs: int, packets: int) -> None:
    """Called with what an entry has just received, before any of it is handed on. One load when nobody captures."""
    ring = load_acquire(entry + at.ENTRY_CAPTURE)
    if ring != 0:
        fill(ring, mbufs, packets)
