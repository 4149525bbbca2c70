"""Writes captured packets as pcapng, which Wireshark, tshark and tcpdump read: with nanoseconds, the direction of each
packet, and how many were missed. The format: https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-02.html
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import BinaryIO

from engine.api.capture_reader import Captured

_SECTION, _INTERFACE, _STATISTICS, _PACKET = 0x0A0D0D0A, 1, 5, 6
_MAGIC = 0x1A2B3C4D
_UNKNOWN_LENGTH = -1
_ETHERNET = 1
_NANOSECONDS = bytes([9])
# Option codes; what a code means depends on the block.
_END, _APPLICATION, _NAME, _RESOLUTION, _FLAGS, _RECEIVED, _DROPPED = 0, 4, 2, 9, 2, 4, 5
_INBOUND, _OUTBOUND = 1, 2
FLAGS = {"vf-to-vm": _INBOUND, "vm-to-vf": _OUTBOUND}
"""As the VF's network sees it."""


class PcapWriter:
    """Writes to a binary stream, which the caller flushes and closes. Each direction is an interface of its own."""

    def __init__(self, out: BinaryIO, relay: int, directions: Sequence[str], snaplen: int) -> None:
        self._out = out
        self._numbers = {direction: number for number, direction in enumerate(directions)}
        self._written = dict.fromkeys(directions, 0)
        self._latest_ns = 0
        head = struct.pack("<IHHq", _MAGIC, 1, 0, _UNKNOWN_LENGTH)
        self._block(_SECTION, head + _options((_APPLICATION, b"vio4wd")))
        for direction in directions:
            name = f"relay {relay} {direction}".encode()
            fixed = struct.pack("<HHI", _ETHERNET, 0, snaplen)
            self._block(_INTERFACE, fixed + _options((_NAME, name), (_RESOLUTION, _NANOSECONDS)))

    def write(self, packet: Captured) -> None:
        """Appends one packet of one of the directions."""
        self._latest_ns = packet.time_ns
        fixed = struct.pack(
            "<IIIII",
            self._numbers[packet.direction],
            *_time(packet.time_ns),
            len(packet.packet),
            packet.length,
        )
        flags = struct.pack("<I", FLAGS[packet.direction])
        self._block(_PACKET, fixed + _padded(packet.packet) + _options((_FLAGS, flags)))
        self._written[packet.direction] += 1

    def finish(self, missed: Mapping[str, int]) -> None:
        """Says for each direction how many packets came and how many of them were missed."""
        for direction, number in self._numbers.items():
            lost = missed.get(direction, 0)
            fixed = struct.pack("<III", number, *_time(self._latest_ns))
            came = struct.pack("<Q", self._written[direction] + lost)
            self._block(_STATISTICS, fixed + _options((_RECEIVED, came), (_DROPPED, struct.pack("<Q", lost))))

    def _block(self, kind: int, body: bytes) -> None:
        length = len(body) + 12
        self._out.write(struct.pack("<II", kind, length) + body + struct.pack("<I", length))


def _time(time_ns: int) -> tuple[int, int]:
    return time_ns >> 32, time_ns & 0xFFFFFFFF


def _padded(value: bytes) -> bytes:
    return value + bytes(-len(value) % 4)


def _options(*options: tuple[int, bytes]) -> bytes:
    listed = b"".join(struct.pack("<HH", code, len(value)) + _padded(value) for code, value in options)
    return listed + struct.pack("<HH", _END, 0)
