"""ZeroMQ's wire protocol as bytes: libzmq itself is the other end in test_serving.py."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema.wire.zmtp import Frame, NotSpoken, Wire, answering, publishing

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
KEEP, MOST = 100, 1000


def ready(kind: bytes = b"REQ") -> bytes:
    body = b"\5READY\x0bSocket-Type" + len(kind).to_bytes(4, "big") + kind + b"\x08Identity\0\0\0\0"
    return bytes([4, len(body)]) + body


def frame(body: bytes, more: bool = False) -> bytes:
    if len(body) < 256:
        return bytes([more, len(body)]) + body
    return bytes([2 | more]) + len(body).to_bytes(8, "big") + body


ASKED = GREETING + ready() + frame(b"", more=True) + frame(b"one") + frame(b"", more=True) + frame(b"x" * 300)
HEARD: list[tuple[Frame, ...]] = [(b"", b"one"), (b"", 300)]


def heard(pieces: Iterable[bytes], wire: Wire | None = None) -> list[tuple[Frame, ...]]:
    wire = wire or Wire(answering(KEEP, MOST))
    found = []
    for piece in pieces:
        wire.feed(piece)
        while (message := wire.next()) is not None:
            found.append(message)
    return found


@given(st.lists(st.integers(0, len(ASKED)), max_size=20))
def test_it_does_not_matter_how_it_is_cut(cuts: list[int]) -> None:
    ends = [0, *sorted(cuts), len(ASKED)]
    assert heard(ASKED[a:b] for a, b in itertools.pairwise(ends)) == HEARD


def test_what_it_says_itself() -> None:
    wire = Wire(answering(KEEP, MOST))
    assert bytes(wire.out) == GREETING[:11]  # nothing that an older peer would not understand
    heard([GREETING + ready()], wire)
    body = b"\5READY\x0bSocket-Type\0\0\0\6ROUTER\x08Identity\0\0\0\0"
    assert bytes(wire.out) == GREETING + bytes([4, len(body)]) + body
    wire.out.clear()
    wire.send([b"", b"y" * 256])
    assert bytes(wire.out) == b"\1\0" + b"\2" + (256).to_bytes(8, "big") + b"y" * 256


def test_zmtp_2_of_libzmq_3_2() -> None:
    wire = Wire(answering(KEEP, MOST))
    assert heard([GREETING[:10], b"\1\3", b"\0\2id", frame(b"", more=True) + frame(b"hello")], wire) == [
        (b"", b"hello")
    ]
    assert bytes(wire.out) == GREETING[:10] + b"\3\6\0\0"


def test_heartbeats_are_answered() -> None:
    wire = Wire(answering(KEEP, MOST))
    heard([GREETING + ready()], wire)
    wire.out.clear()
    assert heard([b"\4\7\4PING\0\1", b"\4\x0a\4PING\0\1abc"], wire) == []
    assert bytes(wire.out) == b"\4\5\4PONG"  # one at a time, whatever comes


NOT_SPOKEN = {
    "not ZeroMQ": b"GET / HTTP/1.1\r\n\r\n",
    "ZMTP 1": GREETING[:10] + b"\0\0",
    "another mechanism": GREETING.replace(b"NULL", b"CURV"),
    "no READY": GREETING + frame(b"hello"),
    "another command": GREETING + b"\4\6\5ERROR",
    "a READY that is cut off": GREETING + b"\4\x08\5READY\x0bS",
    "a READY that promises too much": GREETING + ready()[:-4].replace(b"\4\x27", b"\4\x23") + b"\xff\xff\xff\xff",
    "a publisher": GREETING + ready(b"PUB"),
    "ZMTP 2 from a publisher": GREETING[:10] + b"\1\1\0\0",
    "flags": GREETING + ready() + b"\x80\0",
    "a long message": GREETING + ready() + b"\2" + (MOST + 1).to_bytes(8, "big"),
    "a length of 64 bits": GREETING + ready() + b"\2" + b"\xff" * 8,
    "many frames": GREETING + ready() + frame(b"", more=True) * 100,
    "a long command": GREETING + ready() + b"\6" + (5000).to_bytes(8, "big"),
}


@pytest.mark.parametrize("said", NOT_SPOKEN.values(), ids=NOT_SPOKEN.keys())
def test_what_is_not_spoken(said: bytes) -> None:
    with pytest.raises(NotSpoken):
        heard([said])


@given(st.sampled_from([b"", GREETING[:10], GREETING, GREETING + ready()]), st.lists(st.binary(max_size=300)))
def test_garbage_is_a_message_or_not_spoken_and_nothing_is_heaped_up(begin: bytes, pieces: list[bytes]) -> None:
    wire = Wire(publishing())
    with contextlib.suppress(NotSpoken):
        heard([begin.replace(b"REQ", b"SUB"), *pieces], wire)
    assert len(wire.out) < 2 * len(GREETING) + 100
