"""Captures: copies of what a relay receives, taken by its workers while somebody reads them.

A worker never waits for the reader. A reader that dies leaves nothing on: a capture that is not read ends by itself.
"""

from __future__ import annotations

import base64
import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.api.fault import Refused
from engine.burst.compiled import layout as at
from engine.burst.compiled.memory import Block
from engine.dataplane.context import Context
from engine.dataplane.relays import LiveRelay, Relays

DIRECTIONS = ("vf-to-vm", "vm-to-vf")
WANTED = {**{each: (each,) for each in DIRECTIONS}, "both": DIRECTIONS}
LEASE_S = 5.0
"""A capture that was not read for so long ends."""
MOST_CAPTURES = 8
"""At the same time; each costs memory."""
MAX_SNAPLEN = 262_144
"""As tcpdump's: more than any packet has."""
RING_BYTES = 4 * 1024 * 1024
READ_BYTES = 512 * 1024
"""Of each direction, at most, in one answer."""


class Ring:
    """Filled by the worker of one entry, emptied by one reader."""

    def __init__(self, snaplen: int, size: int = RING_BYTES) -> None:
        self.block = Block(at.RING_RECORDS + size)
        # Touched now: a worker must not wait for the kernel to find pages.
        self.block.write_bytes(0, bytes(self.block.size))
        self.block.write(at.RING_BYTES, size)
        self.block.write(at.RING_SNAPLEN, snaplen)
        self._size = size

    @property
    def missed(self) -> int:
        """Packets that had no room."""
        return self.block.read(at.RING_MISSED)

    def take(self, most: int) -> tuple[bytes, bool]:
        """Up to `most` bytes of the stream of records, cut anywhere, and whether there are more."""
        head, tail = self.block.read(at.RING_HEAD), self.block.read(at.RING_TAIL)
        size = min(most, head - tail)
        offset = tail & (self._size - 1)
        first = min(size, self._size - offset)
        taken = self.block.read_bytes(at.RING_RECORDS + offset, first)
        taken += self.block.read_bytes(at.RING_RECORDS, size - first)
        self.block.write(at.RING_TAIL, tail + size)
        return taken, tail + size < head


@dataclass(slots=True)
class Capture:
    live: LiveRelay
    rings: dict[str, tuple[Block, Ring]]
    """By direction: the entry and its ring."""
    read_at: float
    """Monotonic seconds of the last read."""


class Captures:
    """The captures under way by number. Everything but `read` runs on the engine's main thread."""

    def __init__(self, context: Context, relays: Relays, tsc_hz: int) -> None:
        self._context = context
        self._tsc_hz = tsc_hz
        self._relays = relays
        self._numbers = itertools.count(1)
        self.by_number: dict[int, Capture] = {}

    def start(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Begins; gives the capture's number."""
        live, directions, snaplen = self._wanted(request)
        entries = dict(zip(DIRECTIONS, (live.vf_to_vm, live.vm_to_vf), strict=True))
        rings = {each: (entries[each], Ring(snaplen)) for each in directions}
        number = next(self._numbers)
        self.by_number = {**self.by_number, number: Capture(live, rings, time.monotonic())}
        for entry, ring in rings.values():
            self._context.publish_word(entry.address + at.ENTRY_CAPTURE, ring.block.address)
        return {"capture": number, "lease_s": LEASE_S}

    def _wanted(self, request: Mapping[str, Any]) -> tuple[LiveRelay, tuple[str, ...], int]:
        relay, direction, snaplen = (request.get(name) for name in ("relay", "direction", "snaplen"))
        if type(relay) is not int:
            raise Refused("bad-request", "a capture needs a relay, by its id")
        if not isinstance(direction, str) or direction not in WANTED:
            raise Refused("bad-request", f"direction must be one of {', '.join(WANTED)}")
        if type(snaplen) is not int or not 1 <= snaplen <= MAX_SNAPLEN:
            raise Refused("bad-request", f"snaplen must be a number of bytes from 1 to {MAX_SNAPLEN}")
        live = self._relays.require(relay)
        if any(each.live is live for each in self.by_number.values()):
            raise Refused(
                "in-use",
                f"relay {relay} is being captured already; end that capture (one whose client has died ends after "
                f"{LEASE_S:g} s)",
            )
        if len(self.by_number) >= MOST_CAPTURES:
            raise Refused("limit", f"{MOST_CAPTURES} captures are under way, the most at a time; end one of them")
        return live, WANTED[direction], snaplen

    def relays(self) -> list[int]:
        """The ids of those that are being captured."""
        return sorted(each.live.relay.id for each in self.by_number.values())

    def read(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """What was captured since the last read; from any thread, but one at a time."""
        capture = self._require(request)
        capture.read_at = time.monotonic()
        ended = self._relays.by_id.get(capture.live.relay.id) is not capture.live
        now = {"now_tsc": self._context.tsc(), "now_ns": time.time_ns(), "tsc_hz": self._tsc_hz}
        return {**now, "ended": ended, "directions": {each: _taken(ring) for each, (_, ring) in capture.rings.items()}}

    def _require(self, request: Mapping[str, Any]) -> Capture:
        number = request.get("capture")
        capture = self.by_number.get(number) if type(number) is int else None
        if capture is None:
            raise Refused("unknown", f"there is no capture {number!r}: it was stopped, or not read for {LEASE_S:g} s")
        return capture

    def stop(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Ends; what was not read yet is gone."""
        self._end(self._require(request))
        return {}

    def _end(self, capture: Capture) -> None:
        """The rings are freed only when no worker knows them any more."""
        for entry, _ring in capture.rings.values():
            self._context.publish_word(entry.address + at.ENTRY_CAPTURE, 0)
        self.by_number = {number: each for number, each in self.by_number.items() if each is not capture}

    def expire(self, now: float) -> None:
        """Ends the captures that nobody reads; `now` in monotonic seconds."""
        for capture in list(self.by_number.values()):
            if now - capture.read_at > LEASE_S:
                self._end(capture)


def _taken(ring: Ring) -> dict[str, Any]:
    taken, more = ring.take(READ_BYTES)
    return {"records": base64.b64encode(taken).decode(), "more": more, "missed": ring.missed}
