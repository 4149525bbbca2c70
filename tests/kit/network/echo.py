"""Echo requests whose answers are waited for: ping(8) gives up after twice the longest round trip, which a machine that
is too busy to run a guest for a moment exceeds."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import time

ECHO_REPLY, ECHO_REQUEST = 0, 8
_HEADER = struct.Struct("!BBHHH")
"""Type, code, checksum, identifier, sequence number (RFC 792)."""
PAYLOAD = bytes(56)
SILENCE_S = 3.0
"""After so long without an answer no more will come; where none has come at all, after a third of it."""


def checksum(message: bytes) -> int:
    """RFC 1071's, of a message of an even length."""
    total: int = sum(struct.unpack(f"!{len(message) // 2}H", message))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def request(identifier: int, number: int) -> bytes:
    blank = _HEADER.pack(ECHO_REQUEST, 0, 0, identifier, number) + PAYLOAD
    return _HEADER.pack(ECHO_REQUEST, 0, checksum(blank), identifier, number) + PAYLOAD


def exchange(raw: socket.socket, address: str, count: int, interval_s: float) -> tuple[int, int]:
    """Sends requests through a raw ICMP socket: how many were answered, and how many answers came once more."""
    identifier = int.from_bytes(os.urandom(2), "big")
    answers: list[int] = []
    for number in range(count):
        with contextlib.suppress(OSError):  # nobody there, or no way there: it is not answered
            raw.sendto(request(identifier, number), (address, 0))
        answers += _answers(raw, identifier, interval_s)
    while len(set(answers)) < count:
        came = _answers(raw, identifier, SILENCE_S if answers else SILENCE_S / 3, enough=1)
        if not came:
            break
        answers += came
    return len(set(answers)), len(answers) - len(set(answers))


def _answers(raw: socket.socket, identifier: int, wait_s: float, enough: int | None = None) -> list[int]:
    """The numbers of the answers that come within the time, or until there are enough."""
    found: list[int] = []
    end = time.monotonic() + wait_s
    while len(found) != enough and select.select([raw], [], [], max(0.0, end - time.monotonic()))[0]:
        packet = raw.recv(65_535)
        kind, _code, _checksum, whose, number = _HEADER.unpack_from(packet, 4 * (packet[0] & 0xF))
        if (kind, whose) == (ECHO_REPLY, identifier):
            found.append(number)
    return found
