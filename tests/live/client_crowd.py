"""Clients that mean no good, as a program of its own: as many as an endpoint lets in and more, of every kind. Usage:

    python -m tests.live.client_crowd SEED SECONDS PLACES PATH...

It prints one JSON object: how often each kind came, and how often it was sent away.
"""

from __future__ import annotations

import contextlib
import json
import random
import resource
import select
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable

from reconciler.legacy.virtioforwarder_pb2 import PortControlRequest, StatsRequest

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
READY = b"\x04\x1a\x05READY\x0bSocket-Type\x00\x00\x00\x03REQ"
NOWHERE = PortControlRequest(op=PortControlRequest.QUERY_PCI, vhost_path="/nowhere").SerializeToString()
ALL = StatsRequest(include_inactive=True).SerializeToString()
LATER = StatsRequest(include_inactive=True, delay=60_000).SerializeToString()


def frames(body: bytes) -> bytes:
    """As a REQ socket sends it."""
    return b"\x01\x00\x00" + bytes([len(body)]) + body


def silent(_: random.Random) -> bytes:
    return b""


def garbage(chance: random.Random) -> bytes:
    return chance.randbytes(chance.randrange(1, 5000))


def half_greeting(chance: random.Random) -> bytes:
    return (GREETING + READY)[: chance.randrange(1, len(GREETING + READY))]


def half_message(chance: random.Random) -> bytes:
    whole = frames(chance.choice([NOWHERE, ALL, chance.randbytes(200)]))
    return GREETING + READY + whole[: chance.randrange(len(whole))]


def wild_frames(chance: random.Random) -> bytes:
    return GREETING + READY + b"".join(bytes([chance.randrange(8)]) + chance.randbytes(9) for _ in range(50))


def long_message(chance: random.Random) -> bytes:
    return GREETING + READY + b"\x02" + chance.choice([2**62, 2**20, 10_000]).to_bytes(8, "big") + bytes(9000)


def never_reading(_: random.Random) -> bytes:
    """Asks for long replies, as fast as it can."""
    return GREETING + READY + frames(ALL) * 3000


def patient(_: random.Random) -> bytes:
    """Wants rates over a minute, and much of that."""
    return GREETING + READY + frames(LATER) * 1000


def busy(_: random.Random) -> bytes:
    return GREETING + READY + frames(NOWHERE) * 3000


KINDS: tuple[Callable[[random.Random], bytes], ...] = (
    silent,
    garbage,
    half_greeting,
    half_message,
    wild_frames,
    long_message,
    never_reading,
    patient,
    busy,
)


class Intruder:
    """One connection, from its beginning until it is sent away."""

    def __init__(self, path: str, kind: Callable[[random.Random], bytes], chance: random.Random) -> None:
        """Raises OSError when it is not let in: the queue is full."""
        self.kind = kind.__name__
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._said = kind(chance)
        self._reads = kind is busy
        try:
            self.socket.connect(path)
        except OSError:
            self.socket.close()
            raise

    def go_on(self) -> bool:
        """Whether it is still there."""
        try:
            with contextlib.suppress(BlockingIOError):
                while self._said:
                    self._said = self._said[self.socket.send(self._said, socket.MSG_NOSIGNAL) :]
            if self._reads:
                with contextlib.suppress(BlockingIOError):
                    return bool(self.socket.recv(65_536))
        except OSError:
            return False
        return True


def crowd(seed: int, seconds: float, places: int, paths: list[str]) -> dict[str, Counter[str]]:
    """Keeps twice as many as there are places at each endpoint, if they are let in; some leave by themselves."""
    chance = random.Random(seed)
    came: Counter[str] = Counter()
    gone: Counter[str] = Counter()
    there: dict[str, list[Intruder]] = {path: [] for path in paths}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for path, inside in there.items():
            for _ in range(min(20, 2 * places - len(inside))):
                kind = chance.choice(KINDS)
                try:
                    inside.append(Intruder(path, kind, chance))
                    came[kind.__name__] += 1
                except OSError as error:
                    came[f"not let in ({error.strerror})"] += 1
                    break
            poller = select.poll()
            for each in inside:
                poller.register(each.socket, 0)
            hung_up = {descriptor for descriptor, _ in poller.poll(0)}
            for each in list(inside):
                if each.socket.fileno() in hung_up or not each.go_on() or chance.random() < 0.002:
                    gone[each.kind] += 1
                    each.socket.close()
                    inside.remove(each)
        time.sleep(0.01)
    return {"came": came, "gone": gone}


def main() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    seed, seconds, places = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    print(json.dumps(crowd(seed, seconds, places, sys.argv[4:])))


if __name__ == "__main__":
    main()
