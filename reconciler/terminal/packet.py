"""A packet in a few words: what a person wants to see of it in a terminal. Says what it can of one that was cut."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable, Mapping

IPV4, ARP, VLAN, QINQ, IPV6 = 0x0800, 0x0806, 0x8100, 0x88A8, 0x86DD
ETHERTYPES = {0x8035: "RARP", 0x88CC: "LLDP", 0x8809: "LACP", 0x8847: "MPLS"}
HOP_BY_HOP, ICMP, TCP, UDP, FRAGMENT, ICMPV6 = 0, 1, 6, 17, 44, 58
SKIPPED = (HOP_BY_HOP, 43, 60)
"""Extension headers of IPv6 before what it carries."""
PROTOCOLS = {2: "IGMP", 47: "GRE", 50: "ESP", 51: "AH", 89: "OSPF", 132: "SCTP"}
TCP_FLAGS = "FSRPAUEC"
ICMP_TYPES = {0: "echo reply", 3: "unreachable", 5: "redirect", 8: "echo request", 11: "time exceeded"}
ICMPV6_TYPES = {
    1: "unreachable",
    2: "packet too big",
    3: "time exceeded",
    128: "echo request",
    129: "echo reply",
    133: "router solicitation",
    134: "router advertisement",
    135: "neighbour solicitation",
    136: "neighbour advertisement",
    143: "multicast listener report",
}


def summary(frame: bytes) -> str:
    """Addresses and what is in it, of an Ethernet frame from its first byte."""
    if len(frame) < 14:
        return f"frame of {len(frame)} bytes, too short for Ethernet"
    macs = f"{_mac(frame[6:12])} > {_mac(frame[:6])}"
    return f"{macs} {_payload(int.from_bytes(frame[12:14], 'big'), frame[14:])}"


def _payload(ethertype: int, rest: bytes) -> str:
    tags = ""
    while ethertype in (VLAN, QINQ) and len(rest) >= 4:
        tag, ethertype = struct.unpack_from(">HH", rest)
        tags += f"VLAN {tag & 0xFFF} "
        rest = rest[4:]
    reader = READERS.get(ethertype)
    try:
        return tags + (reader(rest) if reader else ETHERTYPES.get(ethertype) or _unknown(ethertype))
    except (struct.error, IndexError, ValueError):
        return f"{tags}{NAMES[ethertype]}, cut or broken"


def _unknown(ethertype: int) -> str:
    return f"802.3, {ethertype} bytes" if ethertype < 0x600 else f"ethertype {ethertype:#06x}"


def _mac(address: bytes) -> str:
    return address.hex(":")


def _arp(rest: bytes) -> str:
    operation = struct.unpack_from(">H", rest, 6)[0]
    sender, target = ipaddress.IPv4Address(rest[14:18]), ipaddress.IPv4Address(rest[24:28])
    if operation == 1:
        return f"ARP who has {target}, tell {sender}"
    return f"ARP {sender} is at {_mac(rest[8:14])}" if operation == 2 else f"ARP operation {operation}"


def _ipv4(rest: bytes) -> str:
    source, target = ipaddress.IPv4Address(rest[12:16]), ipaddress.IPv4Address(rest[16:20])
    protocol, offset = rest[9], struct.unpack_from(">H", rest, 6)[0] & 0x1FFF
    if offset:
        return f"IPv4 {source} > {target} {_named(protocol)} fragment at {8 * offset}"
    return "IPv4 " + _transport(protocol, str(source), str(target), rest[4 * (rest[0] & 15) :])


def _ipv6(rest: bytes) -> str:
    source, target = ipaddress.IPv6Address(rest[8:24]), ipaddress.IPv6Address(rest[24:40])
    protocol, rest = rest[6], rest[40:]
    while protocol in SKIPPED:
        protocol, rest = rest[0], rest[8 * (rest[1] + 1) :]
    if protocol == FRAGMENT:
        offset = struct.unpack_from(">H", rest, 2)[0] & 0xFFF8
        return f"IPv6 {source} > {target} {_named(rest[0])} fragment at {offset}"
    return "IPv6 " + _transport(protocol, str(source), str(target), rest)


def _transport(protocol: int, source: str, target: str, rest: bytes) -> str:
    """The line of what IP carries; without ports where they were cut off."""
    if protocol in (TCP, UDP) and len(rest) >= 4:
        ports = struct.unpack_from(">HH", rest)
        more = f" {_tcp(rest)}" if protocol == TCP and len(rest) >= 14 else ""
        return f"{_bracketed(source)}:{ports[0]} > {_bracketed(target)}:{ports[1]} {_named(protocol)}{more}"
    types = {ICMP: ICMP_TYPES, ICMPV6: ICMPV6_TYPES}.get(protocol)
    kind = f" {types.get(rest[0], f'type {rest[0]}')}" if types and rest else ""
    return f"{source} > {target} {_named(protocol)}{kind}"


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _tcp(rest: bytes) -> str:
    sequence, acknowledged = struct.unpack_from(">II", rest, 4)
    flags = "".join(letter for bit, letter in enumerate(TCP_FLAGS) if rest[13] & 1 << bit)
    return f"[{flags}] seq {sequence} ack {acknowledged}"


def _named(protocol: int) -> str:
    known = {ICMP: "ICMP", TCP: "TCP", UDP: "UDP", ICMPV6: "ICMPv6", **PROTOCOLS}
    return known.get(protocol, f"protocol {protocol}")


READERS: Mapping[int, Callable[[bytes], str]] = {IPV4: _ipv4, IPV6: _ipv6, ARP: _arp}
NAMES = {IPV4: "IPv4", IPV6: "IPv6", ARP: "ARP"}
