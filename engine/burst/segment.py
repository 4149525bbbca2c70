"""Long TCP frames that a guest hands over whole (virtio 1.2, 5.1.6.2: VIRTIO_NET_HDR_GSO_TCPV4, _TCPV6): checked, and
made ready for a NIC that cuts them, or cut into what the wire takes.

vhost marks such a frame with MBUF_F_TX_TCP_SEG, its header lengths and the payload of a segment. A segment leaves here
as a guest would have sent it that cuts its frames itself, its TCP checksum left open: finished like any other.
librte_gso is not used: it knows no TCP over IPv6 (22.11), wants room for all segments of a frame at once, of which a
hostile guest can ask 65536, and leaves checksums alone, for which the payload has to be read anyway.
"""

from __future__ import annotations

from numba import types

from engine.burst.capture import copy
from engine.burst.checksum import L2_BITS, L3_BITS, PKT_LEN, TCP_FIELD, TX_OFFLOAD, fold, sum_words, swap16
from engine.burst.compiled import layout as at
from engine.burst.compiled.compiling import called, dividing
from engine.burst.compiled.intrinsics import load8, load16, load32, load64, store8, store16, store32, store64
from engine.burst.counting import close_up, count, drop_mbufs, free_mbufs
from engine.burst.flow import (
    BUF_ADDR,
    DATA_LEN,
    DATA_OFF,
    ETHER_BYTES,
    IPV4_BYTES,
    IPV6_BYTES,
    OL_FLAGS,
    TCP,
    VLAN_BYTES,
    big16,
)
from engine.burst.queue_spread import stage_of, staged_word
from engine.dpdk import layout as dpdk

BURST = at.BURST
L4_BITS, SIZE_BITS = 8, 16
"""struct rte_mbuf, tx_offload: l4_len follows l3_len, then tso_segsz."""
TCP_BYTES = 20
LEAST_PAYLOAD = 8
"""Of a segment: what Linux' smallest MSS (TCP_MIN_SND_MSS, 48) leaves beside 40 bytes of options. Less is nonsense."""
MOST_BYTES = 65535
"""Of a frame without its Ethernet header: what the length field of IPv4 can say."""
FIN_PSH, CWR = 0x09, 0x80
"""Of TCP's flags: the former belong to the last segment (RFC 9293), the latter to the first (RFC 3168)."""
_i32, _i64 = types.int32, types.int64
copy_mbuf = types.ExternalFunction("rte_pktmbuf_copy", _i64(_i64, _i64, _i32, _i32))


@called
def field(mbuf: int, shift: int, bits: int) -> int:
    return (load64(mbuf + TX_OFFLOAD) >> shift) & ((1 << bits) - 1)


@called
def l2_bytes(mbuf: int) -> int:
    return field(mbuf, 0, L2_BITS)


@called
def l3_bytes(mbuf: int) -> int:
    return field(mbuf, L2_BITS, L3_BITS)


@called
def header_bytes(mbuf: int) -> int:
    return l2_bytes(mbuf) + l3_bytes(mbuf) + field(mbuf, L2_BITS + L3_BITS, L4_BITS)


@called
def payload_bytes(mbuf: int) -> int:
    """How much of the TCP stream the guest wants in each segment."""
    return field(mbuf, L2_BITS + L3_BITS + L4_BITS, SIZE_BITS)


@called
def is_long(mbuf: int) -> bool:
    return load64(mbuf + OL_FLAGS) & dpdk.MBUF_F_TX_TCP_SEG != 0


@called
def fits(mbuf: int, mtu: int) -> bool:
    """Whether a frame can leave: short enough, or to be cut and with headers that hold what they say."""
    size = load32(mbuf + PKT_LEN)
    if not is_long(mbuf):
        return size <= mtu + ETHER_BYTES + 2 * VLAN_BYTES
    headers, l2, l3 = header_bytes(mbuf), l2_bytes(mbuf), l3_bytes(mbuf)
    sound = l3 == IPV6_BYTES if load64(mbuf + OL_FLAGS) & dpdk.MBUF_F_TX_IPV6 != 0 else l3 >= IPV4_BYTES
    return (
        sound
        and l2 >= ETHER_BYTES
        and headers >= l2 + l3 + TCP_BYTES
        and headers <= min(load16(mbuf + DATA_LEN), dpdk.PKTMBUF_HEADROOM)
        and headers < size <= l2 + MOST_BYTES
        and LEAST_PAYLOAD <= payload_bytes(mbuf) <= mtu + l2 - headers
    )


@called
def classify(entry: int, packets: int) -> int:
    """Drops of the entry's first packets those that can't leave: how many remain, in their order."""
    mbufs, mtu, kept = entry + at.ENTRY_MBUFS, load64(entry + at.ENTRY_MTU), 0
    for index in range(packets):
        mbuf = load64(mbufs + 8 * index)
        if fits(mbuf, mtu):
            store64(mbufs + 8 * kept, mbuf)
            kept += 1
        else:
            drop_mbufs(entry, at.VF_UNFIT, mbufs + 8 * index, 1)
    return kept


@called
def any_long(mbufs: int, packets: int) -> bool:
    flags = 0
    for index in range(packets):
        flags |= load64(load64(mbufs + 8 * index) + OL_FLAGS)
    return flags & dpdk.MBUF_F_TX_TCP_SEG != 0


@called
def put16(address: int, value: int) -> None:
    """In the network's byte order."""
    store16(address, swap16(value & 0xFFFF))


@called
def add32(address: int, value: int) -> None:
    """Adds to a number in the network's byte order."""
    total = ((big16(address) << 16) | big16(address + 2)) + value
    put16(address, total >> 16)
    put16(address + 2, total)


@called
def pseudo_sum(mbuf: int, l3: int, size: int) -> int:
    """The sum, in the machine's byte order, of the pseudo header of `size` bytes of TCP (RFC 9293, RFC 8200)."""
    six = load64(mbuf + OL_FLAGS) & dpdk.MBUF_F_TX_IPV6 != 0
    addresses = sum_words(l3 + 8, 32) if six else sum_words(l3 + 12, 8)
    return fold(addresses + swap16(TCP) + swap16(size))


@called
def ready_for_nic(mbuf: int) -> None:
    """What a NIC wants that cuts the frame itself (rte_mbuf_core.h, RTE_MBUF_F_TX_TCP_SEG)."""
    l3 = load64(mbuf + BUF_ADDR) + load16(mbuf + DATA_OFF) + l2_bytes(mbuf)
    flags = load64(mbuf + OL_FLAGS) | dpdk.MBUF_F_TX_TCP_CKSUM
    if flags & dpdk.MBUF_F_TX_IPV4 != 0:
        flags |= dpdk.MBUF_F_TX_IP_CKSUM
        store16(l3 + 10, 0)
    store64(mbuf + OL_FLAGS, flags)
    store16(l3 + l3_bytes(mbuf) + TCP_FIELD, pseudo_sum(mbuf, l3, 0))


@called
def ready_all_for_nic(mbufs: int, packets: int) -> None:
    for index in range(packets):
        mbuf = load64(mbufs + 8 * index)
        if is_long(mbuf):
            ready_for_nic(mbuf)


@called
def fill_l3(mbuf: int, l3: int, index: int) -> None:
    """The IP header of a frame's segment number `index`."""
    size = load32(mbuf + PKT_LEN) - l2_bytes(mbuf)
    if load64(mbuf + OL_FLAGS) & dpdk.MBUF_F_TX_IPV6 != 0:
        put16(l3 + 4, size - IPV6_BYTES)
        return
    put16(l3 + 2, size)
    put16(l3 + 4, big16(l3 + 4) + index)
    store16(l3 + 10, 0)
    store16(l3 + 10, ~fold(sum_words(l3, l3_bytes(mbuf))) & 0xFFFF)


@called
def fill_l4(mbuf: int, l3: int, done: int, last: bool) -> None:
    """The TCP header of a segment behind `done` bytes of payload, its checksum open."""
    tcp = l3 + l3_bytes(mbuf)
    add32(tcp + 4, done)
    flags = load8(tcp + 13)
    if not last:
        flags &= ~FIN_PSH
    if done > 0:
        flags &= ~CWR
    store8(tcp + 13, flags)
    size = load32(mbuf + PKT_LEN) - l2_bytes(mbuf) - l3_bytes(mbuf)
    store16(tcp + TCP_FIELD, pseudo_sum(mbuf, l3, size))


@dividing
def cut_one(frame: int, done: int, pool: int) -> int:
    """The segment behind `done` bytes of a frame's payload as an mbuf of `pool`, or 0 where that has none left.

    The frame's length is made that of its headers and what is left of it, so that a drop counts no more than that.
    """
    headers = header_bytes(frame)
    left = load32(frame + PKT_LEN) - headers
    size = min(left, payload_bytes(frame))
    store32(frame + PKT_LEN, headers + done + left)  # rte_pktmbuf_copy must find it whole
    segment = copy_mbuf(frame, pool, headers + done, size)
    if segment == 0:
        store32(frame + PKT_LEN, headers + left)
        return 0
    store32(frame + PKT_LEN, headers + left - size)
    offset = load16(segment + DATA_OFF) - headers
    start = load64(segment + BUF_ADDR) + offset
    copy(start, load64(frame + BUF_ADDR) + load16(frame + DATA_OFF), headers)
    store16(segment + DATA_OFF, offset)
    store16(segment + DATA_LEN, headers + size)
    store32(segment + PKT_LEN, headers + size)
    kind = load64(frame + OL_FLAGS) & (dpdk.MBUF_F_TX_IPV4 | dpdk.MBUF_F_TX_IPV6)
    store64(segment + OL_FLAGS, kind | dpdk.MBUF_F_TX_TCP_CKSUM)
    fill_l3(segment, start + l2_bytes(frame), done // payload_bytes(frame))
    fill_l4(segment, start + l2_bytes(frame), done, size == left)
    return segment


@called
def hold(entry: int, packets: int) -> None:
    """Moves the entry's first packets to its first stage, which is empty, to be cut from there."""
    copy(stage_of(entry, 0), entry + at.ENTRY_MBUFS, 8 * packets)
    store64(staged_word(entry, 0), packets)
    store64(entry + at.ENTRY_STAGED, packets)
    store64(entry + at.ENTRY_CUT, 0)


@called
def cut_next(entry: int, frame: int, pool: int) -> int:
    """The next packet of a frame that is to be cut, or the frame itself: 0 when there is no mbuf for it.

    Afterwards ENTRY_CUT is 0 when nothing is left of the frame. All segments but one count as received: with the frame,
    which was counted as one packet, they are as many as are sent.
    """
    if not is_long(frame):
        return frame
    done, headers = load64(entry + at.ENTRY_CUT), header_bytes(frame)
    segment = cut_one(frame, done, pool)
    if segment == 0:
        return 0
    if load32(frame + PKT_LEN) > headers:
        count(entry + at.RX, 1, headers)
        store64(entry + at.ENTRY_CUT, done + payload_bytes(frame))
    else:
        store64(entry + at.ENTRY_CUT, 0)
    return segment


@called
def cut(entry: int, pool: int) -> int:
    """Fills the entry's mbufs, of which none may wait, from the frames of its first stage: how many packets."""
    mbufs, stage, waiting = entry + at.ENTRY_MBUFS, stage_of(entry, 0), load64(staged_word(entry, 0))
    made, taken = 0, 0
    while made < BURST and taken < waiting:
        frame = load64(stage + 8 * taken)
        packet = cut_next(entry, frame, pool)
        if packet == 0:
            break
        store64(mbufs + 8 * made, packet)
        made += 1
        if load64(entry + at.ENTRY_CUT) == 0:
            if packet != frame:
                free_mbufs(stage + 8 * taken, 1)
            taken += 1
    close_up(stage, staged_word(entry, 0), taken, waiting)
    store64(entry + at.ENTRY_STAGED, waiting - taken)
    return made
