"""Conversations on a vhost-user socket that no QEMU would have: honest messages made wrong, by a seeded random.

What is wrong: sizes that lie, indices, addresses and numbers out of range, descriptors of the wrong kind and number,
messages out of turn, half of them, plain noise; and rings full of noise once they run.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from tests.kit.guests import vhost_peer as vhost

REQUESTS = (*range(41), 255, 0xFFFF_FFFF)
ODD_NUMBERS = (0, 1, 2, 3, 127, 128, 255, 256, 257, 4096, 32_768, 32_769, 65_535, 1 << 31, (1 << 32) - 1)
ODD_WORDS = (*ODD_NUMBERS, 1 << 32, 1 << 47, (1 << 63) - 1, 1 << 63, (1 << 64) - 4096, (1 << 64) - 1)
MESSAGES_AT_MOST = 24
LEAKING = (*range(vhost.SET_VRING_NUM, vhost.SET_VRING_KICK), vhost.SET_VRING_ENABLE, vhost.SET_INFLIGHT_FD)
"""Of these, rte_vhost 22.11.11 refuses rings from 256 on before anybody else sees the message, and leaves descriptors
that came with it open. So none come with such messages here.
"""


class Fuzzer:
    """One source of conversations. The same seed gives the same ones."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.messages = 0
        """How many were sent."""

    def converse(self, path: Path) -> None:
        """Have one conversation. Being cut off ends it. Raises TimeoutError when the backend takes nothing more."""
        with contextlib.suppress(vhost.PeerGone), vhost.Peer(path) as peer:
            self._begin(peer)
            for _ in range(self._random.randint(1, MESSAGES_AT_MOST)):
                self.say(peer)
                self.messages += 1

    def _begin(self, peer: vhost.Peer) -> None:
        stage = self._random.random()
        if stage < 0.5:
            memory = peer.start()
            if self._random.random() < 0.5:
                noise = self._random.randbytes(4 * vhost.RING_BYTES)
                os.pwrite(memory, noise, 0)
        elif stage < 0.8:
            peer.introduce()

    def say(self, peer: vhost.Peer) -> None:
        """Send one message, wrong or not."""
        kind = self._random.random()
        if kind < 0.05:
            peer.raw(self._random.randbytes(self._random.randint(1, 700)), self.descriptors(peer))
            return
        request = self._random.choice(REQUESTS)
        payload = self._payload(request)
        fds = self._honest_descriptors(peer, request, payload) if kind < 0.6 else self.descriptors(peer)
        flags = vhost.VERSION | self._random.choice((0, vhost.NEED_REPLY))
        size = len(payload) if kind < 0.9 else self._random.choice(ODD_NUMBERS)
        if request in LEAKING and (size != len(payload) or int.from_bytes(payload[:4], "little") > 255):
            fds = []
        peer.raw(struct.pack("<III", request, flags, size) + payload, fds)

    def _payload(self, request: int) -> bytes:
        builders: dict[int, Callable[[], bytes]] = {
            vhost.SET_MEM_TABLE: self._memory,
            vhost.SET_VRING_ADDR: self._address,
            vhost.SET_LOG_BASE: lambda: struct.pack("<QQ", self._word(), self._word()),
            vhost.SET_INFLIGHT_FD: lambda: struct.pack("<QQHHI", self._word(), 0, 4, 65_535, 0),
        }
        if request in builders:
            return builders[request]()
        if vhost.SET_VRING_NUM <= request <= vhost.GET_VRING_BASE or request == vhost.SET_VRING_ENABLE:
            return vhost.state(self._ring(), self._number())
        if vhost.SET_VRING_KICK <= request <= vhost.SET_VRING_ERR:
            return vhost.u64(self._ring() | self._random.choice((0, 0, vhost.NO_FD)))
        return self._random.choice((b"", vhost.u64(self._word()), self._random.randbytes(self._random.randint(0, 300))))

    def _memory(self) -> bytes:
        count = self._random.choice((0, 1, 1, 1, 2, 8, 9, 1 << 31))
        regions = [
            vhost.region(
                self._either(0),
                self._either(vhost.MEMORY_BYTES),
                self._either(vhost.USER_ADDRESS),
                self._random.choice((0, 0, self._word())),
            )
            for _ in range(min(count, 8))
        ]
        return struct.pack("<II", count, 0) + b"".join(regions)

    def _address(self) -> bytes:
        honest = struct.unpack("<IIQQQQ", vhost.ring_address(self._random.randint(0, 1)))
        words = [self._either(word) for word in honest[2:]]
        ends = [vhost.USER_ADDRESS + vhost.MEMORY_BYTES - self._random.choice((1, 2, 16, 4096)) for _ in words]
        chosen = [self._random.choice((word, word, end)) for word, end in zip(words, ends, strict=True)]
        return struct.pack("<IIQQQQ", self._ring(), self._random.choice((0, 1, 7)), *chosen)

    def _ring(self) -> int:
        return self._random.choice((0, 0, 1, 1, 2, 63, 64, 127, 128, 255, self._number()))

    def _number(self) -> int:
        return self._random.choice((vhost.RING_SIZE, self._random.choice(ODD_NUMBERS)))

    def _word(self) -> int:
        return self._random.choice(ODD_WORDS)

    def _either(self, honest: int) -> int:
        return self._random.choice((honest, honest, honest, self._word()))

    def _honest_descriptors(self, peer: vhost.Peer, request: int, payload: bytes) -> list[int]:
        if request == vhost.SET_MEM_TABLE:
            return [peer.memory() for _ in range(min(int.from_bytes(payload[:4], "little"), 8))]
        if request in (vhost.SET_LOG_BASE, vhost.SET_INFLIGHT_FD):
            return [peer.memory()]
        if request in (vhost.SET_VRING_KICK, vhost.SET_VRING_CALL, vhost.SET_VRING_ERR):
            return [peer.event()]
        return []

    def descriptors(self, peer: vhost.Peer) -> list[int]:
        """Any number, of any kinds."""
        return [self._descriptor(peer) for _ in range(self._random.choice((0, 1, 1, 2, 8, 9, 20)))]

    def _descriptor(self, peer: vhost.Peer) -> int:
        kind = self._random.randrange(8)
        if kind == 0:
            return peer.memory(self._random.choice((0, 1, 4096, vhost.MEMORY_BYTES)))
        if kind == 1:
            reading, writing = os.pipe()
            return self._random.choice((peer.owned(reading), peer.owned(writing)))
        if kind == 2:
            left, right = socket.socketpair()
            peer.owned(right.detach())
            return peer.owned(left.detach())
        if kind == 3:
            return peer.owned(os.open("/", os.O_RDONLY))
        if kind == 4:
            return peer.owned(os.open(__file__, os.O_RDONLY))
        if kind == 5:
            return peer.owned(os.open("/dev/zero", os.O_RDWR))
        return peer.event()
