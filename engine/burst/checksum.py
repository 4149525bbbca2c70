"""Checksums that a guest left open, finished in software where the VF can't.

A guest that was offered VIRTIO_NET_F_CSUM puts the sum of the pseudo header into the checksum field and leaves the
rest to the device (virtio 1.1, 5.1.6.2); vhost marks such an mbuf with its L4 type and header lengths.
"""

from __future__ import annotations

from engine.burst.compiled.compiling import called
from engine.burst.compiled.intrinsics import load8, load16, load32, load64, store16, store64
from engine.burst.flow import BUF_ADDR, DATA_LEN, DATA_OFF, OL_FLAGS
from engine.dpdk import installed
from engine.dpdk.layout import MBUF_F_TX_L4_MASK, MBUF_F_TX_TCP_CKSUM, MBUF_F_TX_UDP_CKSUM

_MBUF = installed.LAYOUT.mbuf
TX_OFFLOAD, NEXT, PKT_LEN = _MBUF.tx_offload, _MBUF.next, _MBUF.pkt_len
L2_BITS, L3_BITS = 7, 9
"""struct rte_mbuf, tx_offload: l2_len in the lowest bits, then l3_len."""
TCP_FIELD, UDP_FIELD = 16, 6
"""Where the checksum stands in the header."""


@called
def fold(total: int) -> int:
    """A ones' complement sum in 16 bits."""
    while total >> 16 != 0:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@called
def sum_words(address: int, size: int) -> int:
    """The sum of the 16-bit words, in the machine's byte order, of `size` bytes; an odd last byte counts as a word."""
    total, end = 0, address + size
    while address + 4 <= end:
        total += load32(address)
        address += 4
    if address + 2 <= end:
        total += load16(address)
        address += 2
    if address < end:
        total += load8(address)
    return total


@called
def swap16(value: int) -> int:
    return ((value & 0xFF) << 8) | (value >> 8)


@called
def sum_packet(mbuf: int, start: int) -> int:
    """The 16-bit ones' complement sum from byte `start` of a chained packet to its end."""
    total, done = 0, 0
    while mbuf != 0:
        size = load16(mbuf + DATA_LEN)
        if start < size:
            part = fold(sum_words(load64(mbuf + BUF_ADDR) + load16(mbuf + DATA_OFF) + start, size - start))
            # RFC 1071: what begins at an odd byte adds with its bytes swapped.
            total += swap16(part) if done & 1 == 1 else part
            done += size - start
            start = 0
        else:
            start -= size
        mbuf = load64(mbuf + NEXT)
    return fold(total)


@called
def finish_checksum(mbuf: int) -> None:
    """Completes the packet's TCP or UDP checksum if it is marked as open. A guest may have lied: nothing outside the
    packet's first segment is written."""
    kind = load64(mbuf + OL_FLAGS) & MBUF_F_TX_L4_MASK
    if kind != MBUF_F_TX_TCP_CKSUM and kind != MBUF_F_TX_UDP_CKSUM:
        return
    lengths = load64(mbuf + TX_OFFLOAD)
    start = (lengths & ((1 << L2_BITS) - 1)) + ((lengths >> L2_BITS) & ((1 << L3_BITS) - 1))
    field = start + (TCP_FIELD if kind == MBUF_F_TX_TCP_CKSUM else UDP_FIELD)
    if field + 2 > load16(mbuf + DATA_LEN):
        return
    value = ~sum_packet(mbuf, start) & 0xFFFF
    if value == 0 and kind == MBUF_F_TX_UDP_CKSUM:
        value = 0xFFFF  # RFC 768: zero says that there is none
    store16(load64(mbuf + BUF_ADDR) + load16(mbuf + DATA_OFF) + field, value)
    store64(mbuf + OL_FLAGS, load64(mbuf + OL_FLAGS) & ~MBUF_F_TX_L4_MASK)


@called
def finish_checksums(mbufs: int, packets: int) -> None:
    for index in range(packets):
        finish_checksum(load64(mbufs + 8 * index))
