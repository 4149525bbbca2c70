"""Which addresses and routes the kernel has on a network interface: rtnetlink(7), whose structs stand in
linux/if_addr.h, linux/rtnetlink.h and linux/netlink.h."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import struct
from collections.abc import Iterator

HEADER = struct.Struct("=IHHII")
ATTRIBUTE = struct.Struct("=HH")
ADDRESS = struct.Struct("=BBBBI")
ROUTE = struct.Struct("=BBBBBBBBI")
HOP = struct.Struct("=HBBI")
NLMSG_ERROR, NLMSG_DONE = 2, 3
RTM_GETADDR, RTM_GETROUTE = 22, 26
REQUEST_DUMP = 0x301
SOL_NETLINK, NETLINK_GET_STRICT_CHK = 270, 12
IFA_ADDRESS, IFA_LOCAL = 1, 2
RTA_DST, RTA_OIF, RTA_MULTIPATH, RTA_TABLE = 1, 4, 9, 15
RT_SCOPE_LINK, RT_TABLE_LOCAL, RTN_UNICAST = 253, 255, 1
PATIENCE_S = 5.0
NEWS_BYTES = 1 << 18
BY_ITSELF_4 = tuple(map(ipaddress.IPv4Network, ("169.254.0.0/16", "224.0.0.0/4")))
BY_ITSELF_6 = tuple(map(ipaddress.IPv6Network, ("fe80::/10", "ff00::/8")))
"""Routes to these come by themselves with each interface that is up."""


def addresses(index: int) -> list[str]:
    """Those of the interface, but for what it gives itself on its link. Raises OSError."""
    found = []
    for body in _dump(RTM_GETADDR, ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0)):
        family, length, _, scope, at = ADDRESS.unpack_from(body)
        if at == index and scope < RT_SCOPE_LINK:
            parts = dict(_attributes(body[ADDRESS.size :]))
            raw = parts.get(IFA_LOCAL, parts.get(IFA_ADDRESS, b""))
            found.append(f"{_written(family, raw)}/{length}")
    return found


def routes(index: int) -> list[str]:
    """Where to packets leave through the interface, but for its own link. Raises OSError."""
    wanted = ATTRIBUTE.pack(8, RTA_OIF) + struct.pack("=I", index)
    found: list[str] = []
    for family in (socket.AF_INET, socket.AF_INET6):
        for body in _dump(RTM_GETROUTE, ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0) + wanted):
            found += _route(body, index)
    return found


def _route(body: bytes, index: int) -> Iterator[str]:
    family, length, _, _, table, _, _, kind, _ = ROUTE.unpack_from(body)
    parts = dict(_attributes(body[ROUTE.size :]))
    if kind != RTN_UNICAST or _number(parts.get(RTA_TABLE), table) == RT_TABLE_LOCAL or index not in _hops(parts):
        return
    if RTA_DST not in parts:
        yield "default"
        return
    to = f"{_written(family, parts[RTA_DST])}/{length}"
    if not _by_itself(to):
        yield to


def _by_itself(to: str) -> bool:
    network = ipaddress.ip_network(to, strict=False)
    if isinstance(network, ipaddress.IPv4Network):
        return any(network.subnet_of(own) for own in BY_ITSELF_4)
    return any(network.subnet_of(own) for own in BY_ITSELF_6)


def _hops(parts: dict[int, bytes]) -> set[int]:
    """The interfaces that a route leads through."""
    found = {_number(parts.get(RTA_OIF), 0)}
    rest = parts.get(RTA_MULTIPATH, b"")
    while len(rest) >= HOP.size:
        length, _, _, index = HOP.unpack_from(rest)
        found.add(index)
        rest = rest[max(HOP.size, (length + 3) & ~3) :]
    return found


def _number(raw: bytes | None, otherwise: int) -> int:
    return int(struct.unpack("=I", raw)[0]) if raw is not None and len(raw) == 4 else otherwise


def _written(family: int, raw: bytes) -> str:
    sizes: dict[int, int] = {socket.AF_INET: 4, socket.AF_INET6: 16}
    return socket.inet_ntop(family, raw) if sizes.get(family) == len(raw) else raw.hex()


def _attributes(raw: bytes) -> Iterator[tuple[int, bytes]]:
    while len(raw) >= ATTRIBUTE.size:
        length, kind = ATTRIBUTE.unpack_from(raw)
        yield kind & 0x3FFF, raw[ATTRIBUTE.size : length]
        raw = raw[max(ATTRIBUTE.size, (length + 3) & ~3) :]


def _dump(kind: int, body: bytes) -> Iterator[bytes]:
    """The bodies of all that the kernel answers. Raises OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as asked:
        asked.settimeout(PATIENCE_S)
        with contextlib.suppress(OSError):  # a kernel before 4.20 gives all, of which the caller takes what is his
            asked.setsockopt(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)
        asked.send(HEADER.pack(HEADER.size + len(body), kind, REQUEST_DUMP, 1, 0) + body)
        while True:
            rest = asked.recv(NEWS_BYTES)
            while rest:
                length, answer, *_ = HEADER.unpack_from(rest)
                if answer == NLMSG_DONE:
                    return
                if answer == NLMSG_ERROR:
                    code = -struct.unpack_from("=i", rest, HEADER.size)[0]
                    raise OSError(code, os.strerror(code))
                yield rest[HEADER.size : length]
                rest = rest[max(HEADER.size, (length + 3) & ~3) :]
