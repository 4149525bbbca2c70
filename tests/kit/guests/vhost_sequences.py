"""Conversations on a vhost-user socket that begin as a guest's do and then go wrong: what counts is the order.

Memory tables come again, rings stop and start in odd orders, features are agreed on anew, descriptors are of odd kinds,
memory is taken away while packets move, and the peer goes at any point. Each conversation has a random of its own, so
a run can be taken up again at any number.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import random
import struct
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.kit.guests import vhost_peer as vhost
from tests.kit.guests.vhost_fuzzer import Fuzzer

PATIENCE_S = 60.0
STEPS_AT_MOST = 30
PAIRS = (1, 1, 1, 2, 4)
SECOND = 1 << 32
"""Where a second region lies, for the guest."""
SIZES = (4096, 1 << 20, vhost.MEMORY_BYTES, 1 << 26, 1 << 30, 1 << 38)
"""Of a second region, and of a log; sparse."""
CHOICES = tuple(1 << bit for bit in (0, 1, 11, 12, 15, 22, 28, 29, 34, 35))
"""Checksums, long frames, merged buffers, several queues, indirect descriptors, event indices, packed rings and their
use in order: what of them is offered may be chosen."""
DESCRIPTOR_FLAGS = (0, 0, 0, 1, 2, 4, 7, 0x80, 0x8080)
"""The next one belongs to it, it is to be written to, it is a table of descriptors; and those of packed rings."""
FRAME_BYTES = 128
Step = Callable[[], None]


@dataclass(slots=True)
class Tally:
    """What was done by all conversations."""

    conversations: int = 0
    messages: int = 0
    steps: Counter[str] = field(default_factory=Counter)
    cut_off: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, told: Conversation) -> None:
        with self._lock:
            self.conversations += 1
            self.messages += told.peer.messages
            self.steps += told.steps
            self.cut_off += told.was_cut_off


class Sequences:
    """The conversations of a seed, from any number on."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.tally = Tally()

    def converse(self, path: Path, number: int) -> None:
        """Have the conversation of this number. Raises TimeoutError when the backend takes nothing more."""
        with vhost.Peer(path, PATIENCE_S) as peer:
            told = Conversation(peer, f"{self._seed}:{number}")
            try:
                told.have()
            except vhost.PeerGone:
                told.was_cut_off = True
            self.tally.add(told)


class Conversation:
    """One of them."""

    def __init__(self, peer: vhost.Peer, seed: str) -> None:
        self.peer = peer
        self.steps: Counter[str] = Counter()
        self.was_cut_off = False
        self._random = random.Random(seed)
        self._fuzzer = Fuzzer(self._random.randrange(1 << 32))
        self._pairs = self._random.choice(PAIRS)
        self._memory: list[int] = []
        """The descriptors of the regions that were given last."""
        self._chosen = 0
        """The features."""
        self._index = 0

    def have(self) -> None:
        more = sum(self._random.sample(CHOICES, self._random.randint(0, len(CHOICES))))
        self._chosen = vhost.PROTOCOL_FEATURES | vhost.VERSION_1 | more
        self._memory = [self.peer.start(self._pairs, self._chosen)]
        choices: dict[Step, int] = {
            self.table_again: 3,
            self.other_table: 4,
            self.odd_table: 2,
            self.two_regions: 3,
            self.stop: 4,
            self.begin: 5,
            self.half_begin: 3,
            self.enable: 3,
            self.features: 2,
            self.log: 2,
            self.odd_descriptor: 3,
            self.truncate: 1,
            self.race: 1,
            self.hole: 2,
            self.noise: 2,
            self.frames: 6,
            self.anything: 1,
            self.reset: 1,
            self.sync: 4,
        }
        steps, weights = list(choices), list(choices.values())
        for _ in range(self._random.randint(1, STEPS_AT_MOST)):
            step = self._random.choices(steps, weights)[0]
            self.steps[step.__name__] += 1
            step()

    # Memory

    def table_again(self) -> None:
        """The same table, of the same memory or of other memory."""
        memory = self._random.choice((self._memory[0], self.peer.memory()))
        self._table([vhost.region(0, vhost.MEMORY_BYTES, vhost.USER_ADDRESS, 0)], [memory])

    def other_table(self) -> None:
        """The same memory elsewhere in the guest's addresses, part of it, or with an offset: rings may lie outside."""
        size = self._random.choice((vhost.MEMORY_BYTES, vhost.MEMORY_BYTES // 2, 4 * vhost.RING_BYTES, 4096))
        offset = self._random.choice((0, 0, 4096, vhost.RING_BYTES, vhost.MEMORY_BYTES - size))
        at = self._random.choice((0, 0, 4096, SECOND))
        user = vhost.USER_ADDRESS + self._random.choice((0, 0, 4096, -4096))
        self._table([vhost.region(at, size, user, offset)], [self.peer.memory()])

    def odd_table(self) -> None:
        """A table of what the fuzzer has: descriptors of any kind, numbers that lie."""
        fds = self._fuzzer.descriptors(self.peer)[:8]
        places = [place << 40 for place in range(len(fds))]
        self._table([vhost.region(at, vhost.MEMORY_BYTES, vhost.USER_ADDRESS + at, 0) for at in places], fds)

    def two_regions(self) -> None:
        """A second region, beside the first or over it; small, or far larger than the host."""
        size = self._random.choice(SIZES)
        at = self._random.choice((SECOND, SECOND, SECOND, 4096))
        first = vhost.region(0, vhost.MEMORY_BYTES, vhost.USER_ADDRESS, 0)
        second = vhost.region(at, size, vhost.USER_ADDRESS + SECOND, 0)
        self._table([first, second], [self._memory[0], self.peer.memory(size)])

    def _table(self, regions: list[bytes], fds: list[int]) -> None:
        self.peer.send(vhost.SET_MEM_TABLE, vhost.memory_table(*regions), fds, self._flags())
        self._memory = fds or self._memory

    def truncate(self) -> None:
        """While packets move, or not: to nothing, or to a part."""
        left = self._random.choice((0, 0, 4096, vhost.RING_BYTES, vhost.MEMORY_BYTES // 2))
        with contextlib.suppress(OSError):
            os.ftruncate(self._random.choice(self._memory), left)

    def race(self) -> None:
        """Memory goes between the look at a table and what is done with it."""
        memory = self.peer.memory()
        self._table([vhost.region(4096, vhost.MEMORY_BYTES, vhost.USER_ADDRESS, 0)], [memory])
        os.ftruncate(memory, 0)

    def hole(self) -> None:
        """What a balloon does: pages are given back, and are zeros."""
        with contextlib.suppress(OSError, ValueError):
            memory = mmap.mmap(self._random.choice(self._memory), vhost.MEMORY_BYTES)
            memory.madvise(mmap.MADV_REMOVE, 0, self._random.choice((4096, vhost.RING_BYTES, vhost.MEMORY_BYTES)))
            memory.close()

    def noise(self) -> None:
        with contextlib.suppress(OSError):
            at = self._random.choice((0, vhost.RING_BYTES)) + self._random.choice((0, 8192, vhost.USED))
            os.pwrite(self._memory[0], self._random.randbytes(self._random.choice((2, 64, 4096))), at)

    # Rings

    def _ring(self) -> int:
        return self._random.randrange(2 * self._pairs)

    def stop(self) -> None:
        self.peer.send(vhost.GET_VRING_BASE, vhost.state(self._ring(), 0))

    def begin(self) -> None:
        """As it should be, of a ring that was stopped before or was not."""
        ring = self._ring()
        if self._random.random() < 0.7:
            self.peer.send(vhost.GET_VRING_BASE, vhost.state(ring, 0))
        self.peer.set_up(ring)

    def half_begin(self) -> None:
        """Some of what starts a ring, in any order."""
        parts = self._parts(self._ring())
        self._random.shuffle(parts)
        for part in parts[: self._random.randint(1, len(parts))]:
            part()

    def _parts(self, ring: int) -> list[Step]:
        peer, size = self.peer, self._random.choice((vhost.RING_SIZE, vhost.RING_SIZE, 128, 1024))
        base = self._random.choice((0, 0, 1, vhost.RING_SIZE, 65_535))
        return [
            lambda: peer.send(vhost.SET_VRING_CALL, vhost.u64(ring), [peer.event()]),
            lambda: peer.send(vhost.SET_VRING_NUM, vhost.state(ring, size)),
            lambda: peer.send(vhost.SET_VRING_BASE, vhost.state(ring, base)),
            lambda: peer.send(vhost.SET_VRING_ADDR, self._address(ring)),
            lambda: peer.send(vhost.SET_VRING_KICK, vhost.u64(ring), [peer.event()]),
            self.enable,
        ]

    def _address(self, ring: int) -> bytes:
        """The ring's own, another ring's, or partly beyond the memory; with a log, or without."""
        end = vhost.USER_ADDRESS + vhost.MEMORY_BYTES - vhost.RING_BYTES - ring * vhost.RING_BYTES
        at = self._random.choice((vhost.USER_ADDRESS, vhost.USER_ADDRESS, vhost.USER_ADDRESS + 64, end, end + 4096))
        index, flags, *places, log = struct.unpack("<IIQQQQ", vhost.ring_address(ring, at))
        if self._random.random() < 0.3:
            flags, log = 1, self._random.choice((0, 4096, 1 << 32, 1 << 63))
        return struct.pack("<IIQQQQ", index, flags, *places, log)

    def enable(self) -> None:
        self.peer.send(vhost.SET_VRING_ENABLE, vhost.state(self._ring(), self._random.randrange(2)))

    def frames(self) -> None:
        """Offers frames on the first ring that sends, from its own memory or from a second region."""
        source = self._random.choice((0, vhost.MEMORY_BYTES // 2, SECOND, SECOND + (1 << 20), 1 << 45))
        count = self._random.choice((1, 32, vhost.RING_SIZE))
        length, flags = self._random.choice((FRAME_BYTES, FRAME_BYTES, 12, 0, 70_000, (1 << 32) - 1)), self._flag()
        descriptors = b"".join(
            struct.pack("<QIHH", source + 8192 * slot, length, flags, (slot + 1) % vhost.RING_SIZE)
            for slot in range(vhost.RING_SIZE)
        )
        self._index = (self._index + count) & 0xFFFF
        available = struct.pack(f"<HH{vhost.RING_SIZE}H", 0, self._index, *range(vhost.RING_SIZE))
        with contextlib.suppress(OSError):
            os.pwrite(self._memory[0], descriptors, vhost.RING_BYTES)
            os.pwrite(self._memory[0], available, vhost.RING_BYTES + 8192)

    def _flag(self) -> int:
        return self._random.choice(DESCRIPTOR_FLAGS)

    # The rest

    def features(self) -> None:
        """Agreed on anew: as before, with a log, with other rings, or with what was never offered."""
        more = self._random.choice((0, vhost.LOG_ALL, vhost.LOG_ALL, 1 << 15, 1 << 34, 1 << 29, 1 << 63))
        self.peer.send(vhost.SET_FEATURES, vhost.u64(self._chosen ^ more), (), self._flags())

    def log(self) -> None:
        """What a live migration begins with; not every log is as QEMU makes it."""
        size = self._random.choice(SIZES)
        memory = self.peer.memory(size)
        if self._random.random() < 0.9:
            vhost.seal(memory)
        self.peer.send(vhost.SET_LOG_BASE, struct.pack("<QQ", size, 0), [memory], self._flags())

    def odd_descriptor(self) -> None:
        request = self._random.choice((vhost.SET_VRING_KICK, vhost.SET_VRING_CALL, vhost.SET_VRING_ERR))
        self.peer.send(request, vhost.u64(self._ring()), self._fuzzer.descriptors(self.peer)[:1])

    def anything(self) -> None:
        self._fuzzer.say(self.peer)

    def reset(self) -> None:
        """Everything stops first, or not."""
        if self._random.random() < 0.7:
            for ring in range(2 * self._pairs):
                self.peer.send(vhost.GET_VRING_BASE, vhost.state(ring, 0))
        self.peer.send(vhost.RESET_OWNER)

    def sync(self) -> None:
        """So that workers meet what there is now."""
        self.peer.sync()

    def _flags(self) -> int:
        return vhost.VERSION | self._random.choice((0, vhost.NEED_REPLY))
