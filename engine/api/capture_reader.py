"""A capture as its reader sees it: packets in the order in which they came, whichever worker copied them."""

from __future__ import annotations

import base64
import contextlib
import struct
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from engine.api.client import EngineClient, EngineError, EngineUnavailable
from engine.burst.compiled import layout as at

_HEADER = struct.Struct("<4q")
PAUSE_S = 0.05
"""Between reads when nothing came; a ring holds what arrives meanwhile."""
SLACK_S = 0.001
"""A worker stamps a burst before it has copied it: so long may a record come after a later one of the other worker."""


@dataclass(frozen=True, slots=True)
class Captured:
    time_ns: int
    """Of the host's clock, since the epoch."""
    direction: str
    """`vf-to-vm` or `vm-to-vf`."""
    length: int
    """In bytes, on the wire; `packet` may be shorter."""
    packet: bytes


@dataclass(frozen=True, slots=True)
class Record:
    tsc: int
    length: int
    packet: bytes


class Records:
    """Takes apart the stream of records of one direction, which comes in pieces cut anywhere."""

    def __init__(self) -> None:
        self._rest = b""
        self.waiting: deque[Record] = deque()

    def feed(self, piece: bytes) -> None:
        stream, position = self._rest + piece, 0
        while len(stream) - position >= 8:
            (size,) = struct.unpack_from("<q", stream, position)
            if len(stream) - position < abs(size):
                break
            if size > 0:
                _, tsc, length, captured = _HEADER.unpack_from(stream, position)
                begin = position + at.RECORD_HEADER
                self.waiting.append(Record(tsc, length, stream[begin : begin + captured]))
            position += abs(size)
        self._rest = stream[position:]

    def cut(self) -> None:
        """The stream has ended, and another one begins."""
        self._rest = b""


class RecordMerge:
    """Puts the directions' records in the order of their time stamps."""

    def __init__(self) -> None:
        self._streams: dict[str, Records] = {}
        self._latest_ns = 0

    def feed(self, answer: Mapping[str, Any]) -> Iterator[Captured]:
        """The packets that no other can precede any more, given one answer of `capture-read`."""
        until = answer["now_tsc"] - int(answer["tsc_hz"] * SLACK_S)
        for direction, came in answer["directions"].items():
            stream = self._streams.setdefault(direction, Records())
            stream.feed(base64.b64decode(came["records"]))
            if came["more"] and stream.waiting:
                until = min(until, stream.waiting[-1].tsc)
        yield from self._before(until, answer)

    def flush(self, answer: Mapping[str, Any]) -> Iterator[Captured]:
        """All that is left; the answer only gives the clock."""
        yield from self._before(answer["now_tsc"], answer)

    def cut(self) -> None:
        """What is fed from now on is of another capture: a record of which only half has come will never be whole."""
        for stream in self._streams.values():
            stream.cut()

    def _before(self, until: int, clock: Mapping[str, Any]) -> Iterator[Captured]:
        while True:
            heads = [(each.waiting[0].tsc, name) for name, each in self._streams.items() if each.waiting]
            if not heads or min(heads)[0] > until:
                return
            _, direction = min(heads)
            record = self._streams[direction].waiting.popleft()
            yield Captured(self._time_ns(record.tsc, clock), direction, record.length, record.packet)

    def _time_ns(self, tsc: int, clock: Mapping[str, Any]) -> int:
        """Never goes back, though the clock is read anew with each answer."""
        time_ns = clock["now_ns"] - (clock["now_tsc"] - tsc) * 1_000_000_000 // clock["tsc_hz"]
        self._latest_ns = max(self._latest_ns, time_ns)
        return self._latest_ns


class CaptureReader:
    """A capture under way on one relay; a context manager, so that it ends with its reader."""

    def __init__(self, client: EngineClient, relay: int, direction: str, snaplen: int) -> None:
        """Begins. Raises EngineError and EngineUnavailable, here and in all that reads."""
        self._client = client
        self._wanted = (relay, direction, snaplen)
        self._number = client.start_capture(*self._wanted)
        self._merge = RecordMerge()
        self._missed: dict[str, int] = {}
        self._missed_before: dict[str, int] = {}
        self.gaps = 0
        """How often the engine had ended the capture, because it was not read for some seconds."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # An engine that is gone, or has ended the capture by itself, needs to be told nothing.
        with contextlib.suppress(EngineError, EngineUnavailable):
            self._client.stop_capture(self._number)

    @property
    def missed(self) -> Mapping[str, int]:
        """Packets so far that there was no room for, by direction."""
        return {each: count + self._missed_before.get(each, 0) for each, count in self._missed.items()}

    def batches(self) -> Iterator[list[Captured]]:
        """What came, again and again; ends when the relay is gone. An empty batch: nothing came for a moment."""
        while True:
            answer = self._read()
            packets = list(self._merge.feed(answer))
            over = answer["ended"] and not any(came["more"] for came in answer["directions"].values())
            if over:
                packets += self._merge.flush(answer)
            yield packets
            if over:
                return
            if not packets:
                time.sleep(PAUSE_S)

    def last(self) -> list[Captured]:
        """What has come and was not given yet."""
        answer = self._read()
        return [*self._merge.feed(answer), *self._merge.flush(answer)]

    def _read(self) -> dict[str, Any]:
        try:
            answer = self._client.read_capture(self._number)
        except EngineError as error:
            if error.code != "unknown":
                raise
            answer = self._begin_anew()
        self._missed = {each: came["missed"] for each, came in answer["directions"].items()}
        return answer

    def _begin_anew(self) -> dict[str, Any]:
        """After a pause that was too long: whoever reads us was stopped, or a pager has taken no more for a while."""
        self._missed_before, self._missed = dict(self.missed), {}
        self._number = self._client.start_capture(*self._wanted)
        self._merge.cut()
        self.gaps += 1
        return self._client.read_capture(self._number)
