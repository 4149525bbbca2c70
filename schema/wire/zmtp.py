"""One connection's end of ZeroMQ's wire protocol, without any input and output of its own: bytes in, messages and bytes
out.

libzmq ends the whole process when it runs out of descriptors (ipc_listener.cpp accepts, and asserts that EMFILE does
not happen; so in 4.3.5), unlinks whatever lies at an endpoint's path, and reads from a client as fast as it can write.
What serves clients here therefore does without it. Spoken are ZMTP 3.0 (rfc.zeromq.org/spec/23) and 2.0 (spec/15),
which is libzmq from 3.2 on, with the mechanism NULL, as a socket that answers (ROUTER) or one that publishes (PUB).
"""

from __future__ import annotations

import struct
from collections.abc import Generator, Sequence
from dataclasses import dataclass

SIGNATURE = b"\xff" + bytes(8) + b"\x7f"
VERSION = 3
MECHANISM = b"NULL".ljust(20, b"\0")
GREETING_BYTES = 64
MORE, LONG, COMMAND = 1, 2, 4
"""Flags of a frame."""
MAX_FRAMES = 64
"""Of a message: each broker on the way adds one."""
MAX_COMMAND_BYTES = 4096
NUMBERS = {b"PUB": 1, b"SUB": 2, b"REQ": 3, b"DEALER": 5, b"ROUTER": 6, b"XSUB": 10}
"""As ZMTP 2.0 has them for what later goes by name."""

Frame = bytes | int
"""An int is the length of one that was too long to be kept."""


class NotSpoken(Exception):  # noqa: N818 - a fact about the other end
    """It does not speak this protocol; nothing further that it sends means anything."""


@dataclass(frozen=True, slots=True)
class Manner:
    """What this end is, whom it talks to, and how much it listens to."""

    kind: bytes
    peers: tuple[bytes, ...]
    keep_bytes: int
    """Frames up to this length are kept."""
    most_bytes: int
    """A message longer than this, frames that are not kept and headers included, is none."""


class Wire:
    """`feed` it what came in, take messages by `next`, send what is in `out`."""

    def __init__(self, manner: Manner) -> None:
        self.out = bytearray(SIGNATURE + bytes([VERSION]))
        self.starved = True
        """Whether `next` has nothing before there was more to feed."""
        self._manner = manner
        self._in = bytearray()
        self._skip = 0
        """Bytes yet to come of a frame that is not kept."""
        self._frames: list[Frame] = []
        self._size = 0
        self._steps = self._run()

    def feed(self, said: bytes) -> None:
        """More of what the other end sent."""
        skipped = min(self._skip, len(said))
        self._skip -= skipped
        self._in += said[skipped:]
        self.starved = False

    def next(self) -> tuple[Frame, ...] | None:
        """The frames of the next message; None when it is not whole yet. Raises NotSpoken."""
        found = next(self._steps)
        self.starved = found is None
        return found

    def send(self, frames: Sequence[bytes]) -> None:
        """Puts a message into `out`."""
        for number, frame in enumerate(frames):
            self._put(MORE if number + 1 < len(frames) else 0, frame)

    # ---- what comes in: a generator that gives None where it needs more ----------------------------------------------

    def _run(self) -> Generator[tuple[Frame, ...] | None]:
        yield from self._greeting()
        while True:
            flags, length = yield from self._header()
            if flags & COMMAND:
                self._command((yield from self._body(length)))
                continue
            yield from self._frame(length)
            if not flags & MORE:
                message, self._frames, self._size = tuple(self._frames), [], 0
                yield message

    def _header(self) -> Generator[None, None, tuple[int, int]]:
        """A frame's flags and length; a command's is a short one."""
        yield from self._more(2)
        flags = self._in[0]
        if flags & ~(MORE | LONG | COMMAND):
            raise NotSpoken("a frame has flags that there are not")
        size = 9 if flags & LONG else 2
        yield from self._more(size)
        length = struct.unpack_from(">Q", self._in, 1)[0] if flags & LONG else self._in[1]
        if flags & COMMAND and length > MAX_COMMAND_BYTES:
            raise NotSpoken("a command is too long")
        del self._in[:size]
        return flags, length

    def _greeting(self) -> Generator[None]:
        yield from self._more(len(SIGNATURE))
        if self._in[0] != SIGNATURE[0] or not self._in[9] & 1:
            raise NotSpoken("it does not begin as ZeroMQ does")
        yield from self._more(11)
        if self._in[10] >= VERSION:
            yield from self._greeting_3()
        elif self._in[10] >= 1:
            yield from self._greeting_2()
        else:
            raise NotSpoken("it speaks ZMTP 1.0, of libzmq before 3.2")

    def _greeting_3(self) -> Generator[None]:
        self.out += b"\0" + MECHANISM + bytes(32)
        yield from self._more(GREETING_BYTES)
        if self._in[12:32] != MECHANISM:
            raise NotSpoken("it asks for another mechanism than NULL")
        del self._in[:GREETING_BYTES]
        ready = b"\5READY" + _property(b"Socket-Type", self._manner.kind) + _property(b"Identity", b"")
        self._put(COMMAND, ready)
        flags, length = yield from self._header()
        said = _properties((yield from self._body(length)) if flags & COMMAND else b"")
        self._require(said.get(b"socket-type", b""))

    def _greeting_2(self) -> Generator[None]:
        self.out += bytes([NUMBERS[self._manner.kind], 0, 0])  # and an identity that is empty
        yield from self._more(14)
        self._require(next((name for name, number in NUMBERS.items() if number == self._in[11]), b""))
        if self._in[12]:
            raise NotSpoken("its identity is none")
        yield from self._more(14 + self._in[13])
        del self._in[: 14 + self._in[13]]

    def _require(self, peer: bytes) -> None:
        if peer not in self._manner.peers:
            raise NotSpoken("a socket of its kind has nothing to say to this one")

    def _frame(self, length: int) -> Generator[None]:
        self._size += length + 2
        if self._size > self._manner.most_bytes or len(self._frames) >= MAX_FRAMES:
            raise NotSpoken("a message is too long")
        if length <= self._manner.keep_bytes:
            self._frames.append((yield from self._body(length)))
            return
        self._skip = length
        rest, self._in = bytes(self._in), bytearray()
        self.feed(rest)
        while self._skip:
            yield None
        self._frames.append(length)

    def _body(self, length: int) -> Generator[None, None, bytes]:
        yield from self._more(length)
        body = bytes(self._in[:length])
        del self._in[:length]
        return body

    def _more(self, length: int) -> Generator[None]:
        while len(self._in) < length:
            yield None

    def _command(self, body: bytes) -> None:
        """Heartbeats of ZMTP 3.1, which libzmq sends where it is told to."""
        if body.startswith(b"\4PING") and not self.out:
            self._put(COMMAND, b"\4PONG" + body[7 : 7 + 16])

    def _put(self, flags: int, body: bytes) -> None:
        long = len(body) > 255
        self.out += struct.pack(">BQ", flags | LONG, len(body)) if long else bytes([flags, len(body)])
        self.out += body


def _property(name: bytes, value: bytes) -> bytes:
    return bytes([len(name)]) + name + struct.pack(">I", len(value)) + value


def _properties(command: bytes) -> dict[bytes, bytes]:
    """Those of a READY, by their names in small letters. Raises NotSpoken."""
    if not command.startswith(b"\5READY"):
        raise NotSpoken("it does not say READY")
    found, at = {}, 6
    while at < len(command):
        name_end = at + 1 + command[at]
        if name_end + 4 > len(command):
            raise NotSpoken("its READY is cut off")
        value_end = name_end + 4 + struct.unpack_from(">I", command, name_end)[0]
        if value_end > len(command):
            raise NotSpoken("its READY is cut off")
        found[command[at + 1 : name_end].lower()] = command[name_end + 4 : value_end]
        at = value_end
    return found


def answering(keep_bytes: int, most_bytes: int) -> Manner:
    """A socket that answers each client's requests."""
    return Manner(b"ROUTER", (b"REQ", b"DEALER", b"ROUTER"), keep_bytes, most_bytes)


def publishing() -> Manner:
    """A socket that tells subscribers what happens."""
    return Manner(b"PUB", (b"SUB", b"XSUB"), 256, 4096)
