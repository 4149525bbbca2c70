"""Which flow a packet belongs to: packets of one flow have one hash, and so one guest queue and their order.

The NIC's own hash is taken where the mbuf carries one. Else addresses and ports of IPv4 and IPv6 are hashed, the VLAN
included; of fragments the addresses alone, since only the first has ports; of anything else the Ethernet header.
"""

from __future__ import annotations

from engine.burst.compiled.compiling import called, inlined
from engine.burst.compiled.intrinsics import load8, load16, load32, load64
from engine.dpdk import installed
from engine.dpdk.layout import MBUF_F_RX_RSS_HASH

_MBUF = installed.LAYOUT.mbuf
BUF_ADDR, DATA_OFF, DATA_LEN = _MBUF.buf_addr, _MBUF.data_off, _MBUF.data_len
OL_FLAGS, HASH = _MBUF.ol_flags, _MBUF.hash
WORD = 0xFFFFFFFF
GOLDEN = 0x9E3779B1
"""Knuth's multiplicative constant, 2**32 divided by the golden ratio."""
# Ethertypes and protocol numbers: IEEE 802.1Q, RFC 791, RFC 8200, IANA
VLAN, QINQ, IPV4, IPV6 = 0x8100, 0x88A8, 0x0800, 0x86DD
TCP, UDP, SCTP = 6, 17, 132
ETHER_BYTES, VLAN_BYTES, IPV4_BYTES, IPV6_BYTES = 14, 4, 20, 40
FRAGMENT = 0x3FFF
"""More-fragments flag and offset of an IPv4 header."""


@inlined
def big16(address: int) -> int:
    return (load8(address) << 8) | load8(address + 1)


@inlined
def mix(value: int, word: int) -> int:
    mixed = ((value ^ word) * GOLDEN) & WORD
    return mixed ^ (mixed >> 15)


@inlined
def mix_words(value: int, address: int, words: int) -> int:
    for index in range(words):
        value = mix(value, load32(address + 4 * index))
    return value


@inlined
def with_ports(value: int, protocol: int, ports: int, end: int) -> int:
    """The hash with the port numbers at `ports`, where the protocol has them and the frame reaches so far."""
    if protocol in (TCP, UDP, SCTP) and ports + 4 <= end:
        return mix(value, load32(ports))
    return value


@inlined
def ipv4_hash(value: int, header: int, end: int) -> int:
    protocol = load8(header + 9)
    value = mix(mix_words(value, header + 12, 2), protocol)
    if big16(header + 6) & FRAGMENT != 0:
        return value
    return with_ports(value, protocol, header + 4 * (load8(header) & 15), end)


@called
def ipv6_hash(value: int, header: int, end: int) -> int:
    protocol = load8(header + 6)
    value = mix(mix_words(value, header + 8, 8), protocol)
    return with_ports(value, protocol, header + IPV6_BYTES, end)


@inlined
def header_hash(frame: int, size: int) -> int:
    """32 bits from the headers of a frame of which `size` bytes lie at `frame`."""
    end = frame + size
    if size < ETHER_BYTES:
        return 0
    header, kind, value = frame + ETHER_BYTES, big16(frame + 12), 0
    while kind in (VLAN, QINQ) and header + VLAN_BYTES <= end:
        value = mix(value, big16(header) & 0xFFF)
        kind = big16(header + 2)
        header += VLAN_BYTES
    if kind == IPV4 and header + IPV4_BYTES <= end:
        return ipv4_hash(value, header, end)
    if kind == IPV6 and header + IPV6_BYTES <= end:
        return ipv6_hash(value, header, end)
    return mix(mix_words(value, frame, 3), kind)


@inlined
def flow_hash(mbuf: int) -> int:
    """32 bits: equal for packets of one flow."""
    if load64(mbuf + OL_FLAGS) & MBUF_F_RX_RSS_HASH != 0:
        return load32(mbuf + HASH)
    frame = load64(mbuf + BUF_ADDR) + load16(mbuf + DATA_OFF)
    return header_hash(frame, load16(mbuf + DATA_LEN))
