"""Numbered frames into a wire, and what of them comes out again: lost, duplicated, reordered.

The frames have an ethertype of their own, so that no network stack answers or eats them. A guest in `io` mode sends
them back as they are.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.kit.network.netns import VethWire

ETHERTYPE = 0x88B5
"""Local experimental ethertype 1 (IEEE 802)."""
_HEADER = struct.Struct("!6s6sHIQ")
_MAGIC = 0x76346B74
_SO_RCVBUFFORCE = 33
_BATCH = 32
_QUIET_S = 0.5
_WINDOW_QUIET_S = 30.0
"""Who asks for a window wants late frames to be told from lost ones."""


@dataclass(frozen=True, slots=True)
class SequenceReport:
    """What became of a flow, in frames."""

    sent: int
    received: int
    duplicated: int
    reordered: int
    """Frames that came after one with a higher number."""

    @property
    def lost(self) -> int:
        return self.sent - (self.received - self.duplicated)

    @property
    def clean(self) -> bool:
        return self.sent > 0 and not (self.lost or self.duplicated or self.reordered)


def judge(sent: int, seen: Iterable[int]) -> SequenceReport:
    """Compare numbers 0 to `sent` - 1 with the numbers in the order in which they came."""
    known: set[int] = set()
    received = duplicated = reordered = 0
    highest = -1
    for number in seen:
        received += 1
        if number in known:
            duplicated += 1
        elif number < highest:
            reordered += 1
        known.add(number)
        highest = max(highest, number)
    return SequenceReport(sent, received, duplicated, reordered)


def frame(number: int, size_bytes: int, destination: bytes, source: bytes) -> bytes:
    """One numbered Ethernet frame of `size_bytes` without FCS, at least 60."""
    return _HEADER.pack(destination, source, ETHERTYPE, _MAGIC, number).ljust(max(size_bytes, 60), b"\0")


def number_of(received: bytes) -> int | None:
    """The number of a frame of ours, or None."""
    if len(received) < _HEADER.size:
        return None
    _, _, ethertype, magic, number = _HEADER.unpack_from(received)
    return int(number) if (ethertype, magic) == (ETHERTYPE, _MAGIC) else None


class SequencedFlow:
    """Sends numbered frames into `wire` from its namespace and notes what arrives at `back` (default: the same wire).

    Frames go out in batches of 32 at `rate_pps` on average, until `finish`. With a `window`, at most so many are on
    their way: then a host that is too busy to run guest or relay for seconds delays frames and overflows no queue, and
    what is lost was lost by whoever carried it.
    """

    def __init__(
        self,
        wire: VethWire,
        back: VethWire | None = None,
        rate_pps: int = 10_000,
        size_bytes: int = 64,
        window: int | None = None,
    ) -> None:
        if window is not None and window < _BATCH:
            raise ValueError(f"a window of {window} frames is less than a batch of {_BATCH}")
        self._wire = wire
        self._back = back or wire
        self._rate_pps = rate_pps
        self._size_bytes = size_bytes
        self._window = window
        self._stop = threading.Event()
        self._sent = 0
        self._seen: list[int] = []
        self._last_arrival = time.monotonic()

    def __enter__(self) -> Self:
        self._out = self._wire.namespace.packet_socket(self._wire.inner, ETHERTYPE)
        self._in = self._back.namespace.packet_socket(self._back.inner, ETHERTYPE)
        self._in.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 64 << 20)
        self._in.settimeout(0.1)
        self._receiving = True
        self._sender = threading.Thread(target=self._send, daemon=True)
        self._receiver = threading.Thread(target=self._receive, daemon=True)
        self._receiver.start()
        self._sender.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stop.set()
        self._receiving = False
        self._sender.join()
        self._receiver.join()
        self._out.close()
        self._in.close()

    @property
    def sent(self) -> int:
        return self._sent

    @property
    def received(self) -> int:
        return len(self._seen)

    def finish(self) -> SequenceReport:
        """Stop sending, wait until all or nothing more has arrived for a while, and judge."""
        self._stop.set()
        self._sender.join()
        self._last_arrival = time.monotonic()
        quiet_s = _QUIET_S if self._window is None else _WINDOW_QUIET_S
        while time.monotonic() - self._last_arrival < quiet_s and len(self._seen) < self._sent:
            time.sleep(0.02)
        return judge(self._sent, self._seen)

    def _send(self) -> None:
        source = bytes.fromhex(self._wire.inner_mac.replace(":", ""))
        started = time.monotonic()
        while not self._stop.is_set():
            if self._window is not None and self._sent + _BATCH - len(self._seen) > self._window:
                time.sleep(0.001)
                continue
            for _ in range(_BATCH):
                # A full queue of the interface is not a loss of the relay's: the same frame is sent again.
                while not self._sent_one(frame(self._sent, self._size_bytes, b"\x02\0\0\0\0\x01", source)):
                    time.sleep(0.001)
                self._sent += 1
            ahead_s = self._sent / self._rate_pps - (time.monotonic() - started)
            if ahead_s > 0:
                time.sleep(ahead_s)

    def _sent_one(self, data: bytes) -> bool:
        with contextlib.suppress(BlockingIOError):
            try:
                self._out.send(data)
            except OSError as error:
                if error.errno == 105:  # ENOBUFS
                    return False
                raise
            return True
        return False

    def _receive(self) -> None:
        while self._receiving:
            with contextlib.suppress(TimeoutError):
                number = number_of(self._in.recv(16_384))
                if number is not None:
                    self._seen.append(number)
                    self._last_arrival = time.monotonic()
