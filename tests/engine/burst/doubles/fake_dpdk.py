"""Sources and sinks that need no NIC and no guest, in place of the DPDK functions that the burst loops call.

Import this before `engine.burst.loops`, in a process of its own: llvmlite prefers symbols that were added by name to
those of a library. Every packet is followed from where it arrives to where it ends, and what must never happen is
written down in `wrongs`, since an exception has no way out of a callback.
"""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Callable
from typing import Any

from llvmlite import binding

from engine.burst.compiled import layout as at
from engine.burst.compiled.memory import Block
from engine.dpdk.installed import LAYOUT
from engine.dpdk.layout import MBUF_F_EXTERNAL, MBUF_F_INDIRECT
from tests.engine.burst.doubles.fake_mempool import LCORE, CachedPool
from tests.engine.burst.doubles.reference_entry import Packet, Surroundings

MBUFS = 1024
GUARD_BYTES = 64
DRAIN_POOL, FOREIGN_POOL, NOWHERE = 0xD0D0, 0xF0F0, 0x1000
"""Addresses where no memory is."""
POISON = 0xDEADBEEF
"""The length of an mbuf that is not ours any more: who reads it counts wrong."""

ODD = {7: (2, 1, 0), 30: (1, 2, 0), 53: (1, 1, MBUF_F_INDIRECT), 71: (1, 1, MBUF_F_EXTERNAL), 89: (1, 1, 0)}
"""Of a hundred mbufs, those that must not go into a cache: reference count, segments, flags. The last is of another
pool."""
PLAIN, FOREIGN = (1, 1, 0), 89

_int, _u16, _i64 = ctypes.c_int, ctypes.c_uint16, ctypes.c_int64
_BURST = ctypes.CFUNCTYPE(_u16, _i64, _i64, _u16)


class Mbufs:
    """Packet buffers of a pool, and where each one is."""

    def __init__(self, wrongs: list[str], pool: int) -> None:
        self.wrongs = wrongs
        self._pool = pool
        self._block = Block(MBUFS * LAYOUT.mbuf.size)
        self._free = [self._block.address + index * LAYOUT.mbuf.size for index in range(MBUFS)]
        self.packets: dict[int, Packet] = {}
        """Those in use, by address."""

    def _set_length(self, address: int, length: int) -> None:
        ctypes.c_uint32.from_address(address + LAYOUT.mbuf.pkt_len).value = length

    def hold(self, packet: Packet) -> int:
        address = self._free.pop()  # the one freed last, as DPDK's caches do, so that what is read late is wrong
        self.packets[address] = packet
        self._set_length(address, packet.length)
        self._describe(address, packet.serial % 100)
        return address

    def _describe(self, address: int, kind: int) -> None:
        mbuf = LAYOUT.mbuf
        references, segments, flags = ODD.get(kind, PLAIN)
        _u16.from_address(address + mbuf.refcnt).value = references
        _u16.from_address(address + mbuf.nb_segs).value = segments
        _i64.from_address(address + mbuf.ol_flags).value = flags
        _i64.from_address(address + mbuf.pool).value = FOREIGN_POOL if kind == FOREIGN else self._pool

    def free(self, address: int) -> None:
        if self.packets.pop(address, None) is None:
            self.wrongs.append(f"mbuf {address:#x} was freed though it was not in use")
            return
        self._set_length(address, POISON)
        self._free.append(address)

    def recycled(self, address: int) -> None:
        """The worker has put an mbuf into the pool's cache."""
        packet = self.packets.get(address)
        if packet and packet.serial % 100 in ODD:
            self.wrongs.append(f"packet {packet.serial}, whose mbuf is not the pool's alone, went into its cache")
        self.free(address)


def words(address: int, count: int) -> list[int]:
    return list((_i64 * count).from_address(address)) if count else []


class Place:
    """An entry with a VF and a guest of its own: queue number and device id are the place's index."""

    def __init__(self, world: World, index: int, direction: int) -> None:
        self.world, self.index = world, index
        self.entry = Block(at.ENTRY_SIZE + GUARD_BYTES)
        self.port, self.guest = Block(at.PORT_SIZE), Block(at.GUEST_SIZE)
        self.inbox: deque[Packet] = deque()
        self.sent: list[Packet] = []
        self.served = 0
        """Bursts of nothing that were offered."""
        self.told = 0
        """The room that the guest has said it has, less what it took since."""
        self.looked_at = 0
        """How often somebody asked for packets."""
        self.now = Surroundings(False, False, 0, (), 0, 0)
        self.entry.write(at.ENTRY_DIRECTION, direction)
        self.entry.write(at.ENTRY_PORT, self.port.address)
        self.entry.write(at.ENTRY_GUEST, self.guest.address)
        self.entry.write_bytes(at.ENTRY_SIZE, b"\xa5" * GUARD_BYTES)
        self.entry.write(at.ENTRY_LCORE, LCORE)
        self.port.write(at.PORT_POOL, world.pool.address)

    def surround(self, now: Surroundings, arriving: list[Packet]) -> None:
        self.world.settle()
        self.now = now
        self.inbox += arriving
        self.port.write(at.PORT_ID, self.index + 1 if now.vf else 0)
        self.guest.write(at.GUEST_VID, self.index + 1 if now.guest else 0)
        self.guest.write(at.GUEST_FEATURES, now.features)

    def waiting(self) -> list[Packet]:
        """What waits in the entry, in its order."""
        addresses = words(self.entry.address + at.ENTRY_MBUFS, self.entry.read(at.ENTRY_WAITING))
        return [self.world.mbufs.packets.get(address, Packet(-1, -1)) for address in addresses]

    def counters(self) -> dict[str, int]:
        return {name: self.entry.read(at.ENTRY_COUNTERS + 8 * i) for i, name in enumerate(at.COUNTERS)}

    def intact(self) -> bool:
        """Nothing was written behind the entry."""
        return self.entry.read_bytes(at.ENTRY_SIZE, GUARD_BYTES) == b"\xa5" * GUARD_BYTES

    def give(self, mbufs: int, most: int) -> int:
        """Up to `most` packets of the inbox into mbufs."""
        wrongs = self.world.wrongs
        self.looked_at += 1
        if self.entry.read(at.ENTRY_WAITING):
            wrongs.append("received while something waits")
        if not 0 < most <= at.BURST:
            wrongs.append(f"asked for {most} packets")
        count = min(most, len(self.inbox))
        for i in range(count):
            _i64.from_address(mbufs + 8 * i).value = self.world.mbufs.hold(self.inbox.popleft())
        return count

    def take(self, mbufs: int, offered: int) -> list[int]:
        """The mbufs that the receiver accepts of those offered."""
        serviced = self.port.read(at.PORT_SERVICE) > 0
        self.served += int(offered == 0)
        if not (offered > 0 or serviced) or offered > at.BURST:
            self.world.wrongs.append(f"offered {offered} packets")
        taken = words(mbufs, min(offered, self.now.takes))
        for address in taken:
            packet = self.world.mbufs.packets.get(address)
            if packet is None:
                self.world.wrongs.append("sent an mbuf that is not in use")
            else:
                self.sent.append(packet)
        return taken


class World:
    """Everything that the entries of one test see."""

    def __init__(self) -> None:
        self.wrongs: list[str] = []
        self.pool = CachedPool()
        self.mbufs = Mbufs(self.wrongs, self.pool.address)
        self.places: list[Place] = []
        self.rings_asked: list[tuple[int, int]] = []
        """Whose rings somebody wanted to know: device and number."""
        self._serial = 0
        self._queues = Block(8 * 32)
        self.fp_ops = Block(LAYOUT.fp_ops.size * 32)
        for port in range(32):
            self._make_port(port)

    def _make_port(self, port: int) -> None:
        """A port whose queue pointer is its number plus 1000."""
        ops, base = LAYOUT.fp_ops, port * LAYOUT.fp_ops.size
        self._queues.write(8 * port, port + 1000)
        for offset, value in (
            (ops.rx_pkt_burst, address_of(CALLBACKS["rx_burst"])),
            (ops.tx_pkt_burst, address_of(CALLBACKS["tx_burst"])),
            (ops.rxq_data, self._queues.address + 8 * port),
            (ops.txq_data, self._queues.address + 8 * port),
        ):
            self.fp_ops.write(base + offset, value)

    def add(self, direction: int) -> Place:
        self.places.append(Place(self, len(self.places), direction))
        return self.places[-1]

    def packets(self, lengths: tuple[int, ...]) -> list[Packet]:
        self._serial += len(lengths)
        return [Packet(self._serial - len(lengths) + i, length) for i, length in enumerate(lengths)]

    def settle(self) -> None:
        """Takes back what was put into the pool's cache."""
        for address in self.pool.take():
            self.mbufs.recycled(address)
        if not self.pool.intact():
            self.wrongs.append("something was written outside the worker's part of the cache")

    def place(self, index: int) -> Place:
        if 0 <= index < len(self.places):
            return self.places[index]
        self.wrongs.append(f"a call for place {index}, which is not there")
        return self.places[0]


world: World
"""The one that the callbacks act on; `fresh` replaces it."""


def fresh() -> World:
    global world
    world = World()
    return world


def rx_burst(queue: int, mbufs: int, most: int) -> int:
    place = world.place(queue - 1000)
    now = place.now
    bounded = now.guest and not now.features & (1 << 26 | 1 << 34) and not place.port.read(at.PORT_SERVICE)
    if not now.vf:
        world.wrongs.append("received from a VF that is absent")
    if bounded and most > place.told:
        world.wrongs.append(f"asked for {most} packets where the guest has room for {place.told}")
    return place.give(mbufs, most)


def tx_burst(queue: int, mbufs: int, offered: int) -> int:
    place = world.place(queue - 1000)
    if not place.now.vf:
        world.wrongs.append("sent to a VF that is absent")
    taken = place.take(mbufs, offered)
    for address in taken:  # the NIC may send and free at once
        world.mbufs.free(address)
    return len(taken)


def enqueue(vid: int, queue: int, mbufs: int, offered: int) -> int:
    place = world.place(vid)
    if queue != 0 or not place.now.guest:
        world.wrongs.append(f"sent to queue {queue} of a guest that is {'there' if place.now.guest else 'absent'}")
    taken = len(place.take(mbufs, offered))
    place.told -= taken
    return taken


def dequeue(vid: int, queue: int, pool: int, mbufs: int, most: int) -> int:
    place = world.place(vid)
    if queue != 1 or not place.now.guest:
        world.wrongs.append(f"took from queue {queue} of a guest that is {'there' if place.now.guest else 'absent'}")
    if pool != (world.pool.address if place.now.vf else DRAIN_POOL):
        world.wrongs.append(f"copied into pool {pool:#x}")
    return place.give(mbufs, most)


def avail_entries(vid: int, queue: int) -> int:
    place = world.place(vid)
    if queue != 0 or place.now.features & (1 << 26 | 1 << 34):
        world.wrongs.append(f"asked for room in queue {queue}, features {place.now.features:#x}")
    place.told = place.now.room
    return place.told


def get_vring(vid: int, queue: int, vring: int) -> int:
    """Every ring lies where no memory is."""
    world.rings_asked.append((vid, queue))
    for offset in (LAYOUT.vring.desc, LAYOUT.vring.avail, LAYOUT.vring.used):
        _i64.from_address(vring + offset).value = NOWHERE
    _u16.from_address(vring + LAYOUT.vring.entries).value = 256
    return 0


def get_vring_base(_vid: int, _queue: int, available: int, used: int) -> int:
    _u16.from_address(available).value = _u16.from_address(used).value = 1000
    return 0


def free_bulk(mbufs: int, count: int) -> None:
    for address in words(mbufs, count):
        world.mbufs.free(address)


def address_of(callback: Any) -> int:
    return ctypes.cast(callback, ctypes.c_void_p).value or 0


_PROTOTYPES: dict[str, tuple[Any, Callable[..., Any]]] = {
    "rx_burst": (_BURST, rx_burst),
    "tx_burst": (_BURST, tx_burst),
    "rte_vhost_enqueue_burst": (ctypes.CFUNCTYPE(_u16, _int, _u16, _i64, _u16), enqueue),
    "rte_vhost_dequeue_burst": (ctypes.CFUNCTYPE(_u16, _int, _u16, _i64, _i64, _u16), dequeue),
    "rte_vhost_avail_entries": (ctypes.CFUNCTYPE(_u16, _int, _u16), avail_entries),
    "rte_vhost_get_vhost_vring": (ctypes.CFUNCTYPE(_int, _int, _u16, _i64), get_vring),
    "rte_vhost_get_vring_base": (ctypes.CFUNCTYPE(_int, _int, _u16, _i64, _i64), get_vring_base),
    "rte_pktmbuf_free_bulk": (ctypes.CFUNCTYPE(None, _i64, ctypes.c_uint), free_bulk),
}
CALLBACKS = {name: prototype(function) for name, (prototype, function) in _PROTOTYPES.items()}
for _name, _callback in CALLBACKS.items():
    binding.add_symbol(_name, address_of(_callback))
world = World()
