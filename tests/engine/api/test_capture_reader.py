"""Captures: what the reader makes of the records that the compiled copying leaves."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from typing import Any

from engine.api.capture_reader import Captured, RecordMerge, Records

HZ = 1_000_000_000
"""So that a cycle is a nanosecond."""


def record(tsc: int, packet: bytes, length: int | None = None) -> bytes:
    padded = packet + bytes(-len(packet) % 8)
    size = 32 + len(padded)
    return struct.pack("<4q", size, tsc, len(packet) if length is None else length, len(packet)) + padded


def answer(now: int, ended: bool = False, now_ns: int | None = None, **streams: tuple[bytes, bool]) -> dict[str, Any]:
    """As `capture-read` gives it; the clock shows the cycles unless it is told otherwise."""
    return {
        "now_tsc": now,
        "now_ns": now if now_ns is None else now_ns,
        "tsc_hz": HZ,
        "ended": ended,
        "directions": {
            name.replace("_", "-"): {"records": base64.b64encode(stream).decode(), "more": more, "missed": 0}
            for name, (stream, more) in streams.items()
        },
    }


def order(packets: Sequence[Captured]) -> list[bytes]:
    return [each.packet for each in packets]


def test_records_may_be_cut_anywhere() -> None:
    stream = record(1, b"one") + struct.pack("<q", -24) + bytes(16) + record(2, b"a longer one") + record(3, b"")
    for cut in range(len(stream)):
        records = Records()
        records.feed(stream[:cut])
        records.feed(stream[cut:])
        assert [(each.tsc, each.packet) for each in records.waiting] == [(1, b"one"), (2, b"a longer one"), (3, b"")]


def test_both_directions_come_in_the_order_of_their_time() -> None:
    merge, late = RecordMerge(), 10 * HZ
    given = merge.feed(
        answer(
            late,
            vf_to_vm=(record(1, b"1") + record(4, b"4"), False),
            vm_to_vf=(record(2, b"2") + record(3, b"3"), False),
        )
    )
    assert order(list(given)) == [b"1", b"2", b"3", b"4"]


def test_what_another_direction_may_still_precede_waits() -> None:
    """The first direction has more to give, all of it later than its last record here."""
    merge, late = RecordMerge(), 10 * HZ
    first = merge.feed(answer(late, vf_to_vm=(record(1, b"1"), True), vm_to_vf=(record(5, b"5"), False)))
    assert order(list(first)) == [b"1"]
    second = merge.feed(answer(late, vf_to_vm=(record(3, b"3"), False), vm_to_vf=(b"", False)))
    assert order(list(second)) == [b"3", b"5"]


def test_what_is_too_fresh_waits_until_it_is_flushed() -> None:
    merge, now = RecordMerge(), 10 * HZ
    fresh = answer(now, vf_to_vm=(record(now - 1, b"fresh"), False))
    assert list(merge.feed(fresh)) == []
    assert order(list(merge.flush(fresh))) == [b"fresh"]


def test_time_is_the_hosts_and_never_goes_back() -> None:
    merge = RecordMerge()
    first = list(merge.feed(answer(10 * HZ, now_ns=110 * HZ, vf_to_vm=(record(9 * HZ, b"a"), False))))
    second = list(merge.feed(answer(20 * HZ, now_ns=90 * HZ, vf_to_vm=(record(19 * HZ, b"b"), False))))
    assert [each.time_ns for each in first + second] == [109 * HZ, 109 * HZ]


def test_half_a_record_of_a_capture_that_ended_is_forgotten() -> None:
    merge, late = RecordMerge(), 10 * HZ
    assert list(merge.feed(answer(late, vf_to_vm=(record(1, b"1")[:20], False)))) == []
    merge.cut()
    assert order(list(merge.feed(answer(late, vf_to_vm=(record(2, b"2"), False))))) == [b"2"]
