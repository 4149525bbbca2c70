"""Clients of virtio-forwarder's four services that are right, wrong, hasty or many. Who stays is owed a reply."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import zmq
from google.protobuf.message import DecodeError, Message

from reconciler.legacy.virtioforwarder_pb2 import (
    ConfigRequest,
    ConfigResponse,
    CoreSchedRequest,
    CoreSchedResponse,
    PortControlRequest,
    PortControlResponse,
    StatsRequest,
    StatsResponse,
)

REPLIES: Mapping[str, type[Message]] = {
    "port_control": PortControlResponse,
    "stats": StatsResponse,
    "config": ConfigResponse,
    "core_sched": CoreSchedResponse,
}
PATIENCE_MS = 30_000
LONG_MS = 1000
"""Rates over longer than this are asked for by nobody: the reply would come as late."""
PATHS = ("/tmp/z/vhu1", "/tmp/z/vhu2", "relative", "/tmp/../etc/passwd", "/" * 200, "")
BREATH_S = 0.002
"""Between two requests of one client, so that the others and the loop get on."""


@dataclass(slots=True)
class Tally:
    """What was sent, and what came back."""

    asked: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    gone: Counter[str] = field(default_factory=Counter)
    """Clients that did not wait."""
    took_ms: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        times = sorted(self.took_ms) or [0.0]
        late = f"median {times[len(times) // 2]:.1f} ms, 99 % {times[len(times) * 99 // 100]:.0f} ms, "
        counts = ", ".join(f"{kind} {self.answered[kind]} of {self.asked[kind]}" for kind in sorted(self.asked))
        hasty = ", ".join(f"{kind} {count}" for kind, count in sorted(self.gone.items()))
        return f"answered: {counts}; gone without waiting: {hasty}; {late}slowest {times[-1]:.0f} ms"


class Fuzz:
    """Endless clients of every kind, each on a thread of its own, while a block runs."""

    def __init__(self, endpoints: Mapping[str, str], seed: int, crowd: int) -> None:
        """`endpoints` by service; `crowd` is how many clients come at once."""
        self.tally = Tally()
        self._endpoints = endpoints
        self._names = sorted(endpoints)
        self._seed = seed
        self._crowd = crowd
        self._stop = threading.Event()

    @contextmanager
    def running(self) -> Iterator[Tally]:
        kinds = (self._right, self._wrong, self._long, self._hasty, self._raw, self._many)
        threads = [threading.Thread(target=self._keep_on, args=(kind, n), daemon=True) for n, kind in enumerate(kinds)]
        for thread in threads:
            thread.start()
        try:
            yield self.tally
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def _keep_on(self, kind: Callable[[random.Random, zmq.Context[zmq.Socket[bytes]]], None], number: int) -> None:
        chance = random.Random(self._seed * 100 + number)
        context = zmq.Context()
        context.set(zmq.MAX_SOCKETS, 4096)
        while not self._stop.is_set():
            try:
                kind(chance, context)
            except Exception as error:  # the test tells of it; the thread's end would hide it
                self.tally.faults.append(f"{kind.__name__}: {error!r}")
            time.sleep(BREATH_S)
        context.destroy(linger=0)

    # ---- who waits for a reply ---------------------------------------------------------------------------------------

    def _right(self, chance: random.Random, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        name = chance.choice(self._names)
        self._ask("right", context, name, [right(chance, name).SerializeToString()])

    def _wrong(self, chance: random.Random, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        name = chance.choice(self._names)
        self._ask("wrong", context, name, [wrong(chance, right(chance, name).SerializePartialToString(), name)])

    def _long(self, chance: random.Random, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        """Of up to 1 MiB, or in several parts."""
        parts = chance.choice([1, 1, 2, 5])
        length, name = 2 ** chance.randrange(20) // parts, chance.choice(self._names)
        said = [chance.randbytes(length) for _ in range(parts)]
        if not (name == "stats" and _asks_for_long(said[0])):  # four bytes by chance may
            self._ask("long", context, name, said)

    def _many(self, chance: random.Random, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        """All at once, and each of them waits."""
        names = [chance.choice(self._names) for _ in range(self._crowd)]
        clients = [self._client(context, name) for name in names]
        began = time.monotonic()
        for name, client in zip(names, clients, strict=True):
            garbage = chance.random() < 0.3
            client.send(wrong(chance, b"", name) if garbage else reading(chance, name).SerializeToString())
        for name, client in zip(names, clients, strict=True):
            self._hear("many", name, client, began)
        time.sleep(0.5)

    def _ask(self, kind: str, context: zmq.Context[zmq.Socket[bytes]], name: str, parts: Sequence[bytes]) -> None:
        client = self._client(context, name)
        began = time.monotonic()
        client.send_multipart(parts)
        self._hear(kind, name, client, began)

    def _hear(self, kind: str, name: str, client: zmq.Socket[bytes], began: float) -> None:
        self.tally.asked[kind] += 1
        try:
            reply = REPLIES[name].FromString(client.recv())
        except zmq.Again:
            self.tally.faults.append(f"{kind}: no reply of {name}")
            return
        finally:
            client.close(linger=0)
        self.tally.took_ms.append(1000 * (time.monotonic() - began))
        self.tally.answered[kind] += reply.IsInitialized()

    def _client(self, context: zmq.Context[zmq.Socket[bytes]], name: str) -> zmq.Socket[bytes]:
        client = context.socket(zmq.REQ)
        client.setsockopt(zmq.RCVTIMEO, PATIENCE_MS)
        client.connect(self._endpoints[name])
        return client

    # ---- who does not ------------------------------------------------------------------------------------------------

    def _hasty(self, chance: random.Random, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        name = chance.choice(self._names)
        client = self._client(context, name)
        for _ in range(chance.randrange(2)):
            client.send(right(chance, name).SerializeToString())
            time.sleep(chance.choice([0.0, 0.001, 0.02]))
        client.close(linger=chance.choice([0, 50]))
        self.tally.gone["hasty"] += 1

    def _raw(self, chance: random.Random, _: object) -> None:
        """Not ZeroMQ at all, or half of it: its greeting begins with ff and ends the signature with 7f."""
        greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48)
        said = chance.choice([b"", chance.randbytes(64), greeting, greeting + chance.randbytes(200), b"GET / HTTP/1.1"])
        path = self._endpoints[chance.choice(self._names)].removeprefix("ipc://")
        with socket.socket(socket.AF_UNIX) as client, suppress(OSError):
            client.settimeout(1.0)
            client.connect(path)
            client.sendall(said[: chance.randrange(len(said) + 1)])
        self.tally.gone["raw"] += 1


# ---- what they say ---------------------------------------------------------------------------------------------------


def right(chance: random.Random, name: str) -> Message:
    """A request that parses, sensible or not."""
    return port_control(chance) if name == "port_control" else reading(chance, name, moves=True)


def port_control(chance: random.Random) -> PortControlRequest:
    request = PortControlRequest(op=chance.choice(PortControlRequest.Op.keys()))
    for _ in range(chance.choice([0, 1, 1, 1, 2, 9])):
        request.pci_addrs.add(domain=chance.choice([0, 2**32 - 1]), bus=6, slot=chance.randrange(34), function=0)
    if chance.random() < 0.8:
        request.virtio_id = chance.choice([*range(8), 63, 64, 2**32 - 1])
    if chance.random() < 0.2:
        request.name = chance.choice(["net_bonding1", "net_bonding\n", "x" * 300, ""])
        request.mode = chance.randrange(9)
    if chance.random() < 0.5:
        request.vhost_path = chance.choice(PATHS)
    if chance.random() < 0.5:
        request.conditional = chance.random() < 0.5
    return request


def reading(chance: random.Random, name: str, moves: bool = False) -> Message:
    """A request that changes nothing, unless it `moves` pins."""
    if name == "port_control":
        return PortControlRequest(op=PortControlRequest.QUERY_PCI, vhost_path="/tmp/z/vhu1")
    if name == "stats":
        relays = [chance.choice([0, 5, 63, 64, 2**32 - 1]) for _ in range(chance.choice([0, 1, 64, 65]))]
        return StatsRequest(relay=relays, include_inactive=chance.random() < 0.5, delay=chance.choice([0, 0, 20, 200]))
    if name == "config":
        return ConfigRequest()
    if not moves or chance.random() < 0.5:
        return CoreSchedRequest(op=CoreSchedRequest.GET_EAL_CORES)
    request = CoreSchedRequest(op=CoreSchedRequest.UPDATE)
    for _ in range(chance.randrange(3)):
        cpus = chance.choice([-1, 0, 1, 2**31 - 1])
        request.relay_cpu_map.add(relay_number=chance.choice([-1, 0, 5, 64]), vf2virtio_cpu=cpus, virtio2vf_cpu=cpus)
    return request


def wrong(chance: random.Random, text: bytes, name: str) -> bytes:
    """Random bytes, half of a message, or one with some bytes changed."""
    said = _wrong(chance, text)
    while name == "stats" and _asks_for_long(said):
        said = _wrong(chance, text)
    return said


def _asks_for_long(text: bytes) -> bool:
    try:
        return StatsRequest.FromString(text).delay > LONG_MS
    except DecodeError:
        return False


def _wrong(chance: random.Random, text: bytes) -> bytes:
    how = chance.randrange(3)
    if how == 0 or not text:
        return chance.randbytes(chance.randrange(100))
    if how == 1:
        return text[: chance.randrange(len(text))]
    changed = bytearray(text)
    for _ in range(chance.randrange(1, 4)):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)
