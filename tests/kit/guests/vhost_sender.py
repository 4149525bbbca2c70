"""A guest that sends: a peer with a second region of memory from which its frames are taken."""

from __future__ import annotations

import mmap
import os
import struct
import time

from tests.kit.guests import vhost_peer as vhost

SECOND = 1 << 32
"""Where the second region lies, for the guest."""
PAGE = 4096
FRAME_BYTES = 128
AVAILABLE = 8192
PATIENCE_S = 30.0


class Sender:
    """Starts a peer, with frames on pages of a region that can be taken away while the rings stay."""

    def __init__(self, peer: vhost.Peer, region_bytes: int) -> None:
        self._peer, self._bytes = peer, region_bytes
        peer.introduce()
        rings, self._frames = peer.memory(), peer.memory(region_bytes)
        first = vhost.region(0, vhost.MEMORY_BYTES, vhost.USER_ADDRESS, 0)
        second = vhost.region(SECOND, region_bytes, vhost.USER_ADDRESS + SECOND, 0)
        peer.send(vhost.SET_MEM_TABLE, vhost.memory_table(first, second), [rings, self._frames])
        for index in (0, 1):
            peer.set_up(index)
        peer.sync()
        self._rings = mmap.mmap(rings, vhost.MEMORY_BYTES)
        self._ring = vhost.RING_BYTES
        self._index = 0

    def shrink(self) -> None:
        os.ftruncate(self._frames, 0)

    def send_from_every_other_page(self) -> bool:
        """Offers a frame on every second page, until all are taken or the backend has gone: whether it has."""
        for first in range(0, self._bytes // PAGE - 2 * vhost.RING_SIZE, 2 * vhost.RING_SIZE):
            self._offer([SECOND + PAGE * (first + 2 * slot) for slot in range(vhost.RING_SIZE)])
            if not self._taken():
                return self._peer.gone()
        return False

    def _offer(self, addresses: list[int]) -> None:
        for slot, address in enumerate(addresses):
            struct.pack_into("<QIHH", self._rings, self._ring + 16 * slot, address, FRAME_BYTES, 0, 0)
            struct.pack_into("<H", self._rings, self._ring + AVAILABLE + 4 + 2 * slot, slot)
        self._index = (self._index + len(addresses)) & 0xFFFF
        struct.pack_into("<H", self._rings, self._ring + AVAILABLE + 2, self._index)

    def _taken(self) -> bool:
        """Whether all that was offered is taken before the connection ends."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if struct.unpack_from("<H", self._rings, self._ring + vhost.USED + 2)[0] == self._index:
                return True
            if self._peer.ended():
                return False
            time.sleep(0.001)
        raise TimeoutError
