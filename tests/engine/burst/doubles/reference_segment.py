"""TCP frames, and how one is cut into segments: slow and obvious, a byte at a time."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

FIN, SYN, PSH, ACK, CWR = 0x01, 0x02, 0x08, 0x10, 0x80


@dataclass(frozen=True, slots=True)
class Frame:
    """A TCP frame, as a guest hands it over or as it leaves."""

    version: int
    payload: bytes
    sequence: int = 0
    flags: int = ACK
    identification: int = 0
    vlan: int | None = None
    ip_options: bytes = b""
    """Of IPv4, a multiple of 4 bytes."""
    tcp_options: bytes = b""

    @property
    def l2(self) -> int:
        return 14 if self.vlan is None else 18

    @property
    def l3(self) -> int:
        return 40 if self.version == 6 else 20 + len(self.ip_options)

    @property
    def l4(self) -> int:
        return 20 + len(self.tcp_options)

    def wire(self, open_checksum: int | None = None) -> bytes:
        """The bytes with all checksums right, or with this TCP checksum."""
        tcp = self._tcp(0)
        whole = checksum(self._pseudo_header(len(tcp)) + tcp)
        tcp = self._tcp(whole if open_checksum is None else open_checksum)
        return self._ethernet() + self._ip(len(tcp)) + tcp

    def _ethernet(self) -> bytes:
        tag = b"" if self.vlan is None else struct.pack("!HH", 0x8100, self.vlan)
        return bytes(range(12)) + tag + (b"\x86\xdd" if self.version == 6 else b"\x08\x00")

    def _ip(self, size: int) -> bytes:
        if self.version == 6:
            return struct.pack("!IHBB", 6 << 28, size & 0xFFFF, 6, 64) + bytes(range(32))
        first = 0x40 | self.l3 // 4
        fields = (first, 0, (self.l3 + size) & 0xFFFF, self.identification, 0x4000, 64, 6)
        addresses = bytes(range(8)) + self.ip_options
        head = struct.pack("!BBHHHBB", *fields)
        return head + struct.pack("!H", checksum(head + b"\0\0" + addresses)) + addresses

    def _tcp(self, sum_: int) -> bytes:
        fields = (1000, 80, self.sequence, 7, self.l4 // 4 << 4, self.flags, 512, sum_, 0)
        return struct.pack("!HHIIBBHHH", *fields) + self.tcp_options + self.payload

    def _pseudo_header(self, size: int) -> bytes:
        if self.version == 6:
            return bytes(range(32)) + struct.pack("!II", size, 6)
        return bytes(range(8)) + struct.pack("!BBH", 0, 6, size & 0xFFFF)

    def open_checksum(self, size: int | None = None) -> int:
        """What stands in the field of a packet whose checksum is left open, of `size` bytes from the TCP header on."""
        return ~checksum(self._pseudo_header(self.l4 + len(self.payload) if size is None else size)) & 0xFFFF


def checksum(text: bytes) -> int:
    """RFC 1071."""
    total = (sum(text[::2]) << 8) + sum(text[1::2])
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def cut(frame: Frame, size: int) -> list[Frame]:
    """The segments of a frame with payload, each with up to `size` bytes of it."""
    starts = range(0, len(frame.payload), size)
    return [_segment(frame, index, start, start + size) for index, start in enumerate(starts)]


def _segment(frame: Frame, index: int, start: int, end: int) -> Frame:
    gone = 0 if end >= len(frame.payload) else FIN | PSH
    gone |= CWR if index else 0
    return replace(
        frame,
        payload=frame.payload[start:end],
        sequence=(frame.sequence + start) % 2**32,
        flags=frame.flags & ~gone,
        identification=(frame.identification + index) % 2**16,
    )
