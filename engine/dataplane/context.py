"""What an engine is made of below its relays: the compiled code, DPDK's libraries and the memory that both share.

Building one compiles the burst loops, or loads them from the cache.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from engine.burst.compiled import layout as at
from engine.burst.compiled.memory import Block
from engine.burst.compiled.quiesce import publish_anywhere, publish_table
from engine.burst.loops import drop_waiting, read_tsc, work
from engine.burst.vhost.bus_error import survive_missing_memory
from engine.burst.vhost.callback_block import CALLBACK_CONTEXT
from engine.burst.vhost.callbacks import CALLBACKS, after_message, before_message
from engine.dataplane.pci import Numa
from engine.dpdk import descriptors
from engine.dpdk.ethdev import Ethdevs
from engine.dpdk.installed import DPDK
from engine.dpdk.mbuf import STANDARD_ROOM_BYTES, Mbufs, Pool
from engine.dpdk.vhost import Vhost
from schema.model import MAX_SOCKETS
from schema.wire.descriptors import Wakeup

DRAIN_MBUFS = 2047


@dataclass(frozen=True, slots=True)
class GuestEvent:
    kind: int
    guest: int
    """Index of the guest block."""


class Context:
    """One per process, made after the EAL has started."""

    def __init__(self, cpus: frozenset[int]) -> None:
        self.cpus = cpus
        """Those that the process may run on."""
        self.ethdevs = Ethdevs(DPDK)
        self.mbufs = Mbufs(DPDK)
        self.numa = Numa()
        self.guests = Block(at.GUEST_SIZE * MAX_SOCKETS)
        self.callback_context = CALLBACK_CONTEXT
        self.roused = Wakeup()
        """By vhost's callbacks, when they have pushed events."""
        self.callback_context.write(at.CONTEXT_GUESTS, self.guests.address)
        self.callback_context.write(at.CONTEXT_GUEST_COUNT, MAX_SOCKETS)
        self.callback_context.write(at.CONTEXT_EVENT_FD, self.roused.fileno())
        for index, look in enumerate((before_message, after_message)):
            self.callback_context.write(at.CONTEXT_MESSAGE_OPS + 8 * index, look.address)
        self.callback_context.write(at.CONTEXT_MOST_FDS, descriptors.most())
        survive_missing_memory()
        self.vhost = Vhost(DPDK, {name: compiled.address for name, compiled in CALLBACKS.items()})
        self.work_address: int = work.address
        self.drain_pool: Pool = self.mbufs.create("drain", DRAIN_MBUFS, STANDARD_ROOM_BYTES)
        self._tsc = ctypes.CFUNCTYPE(ctypes.c_int64)(read_tsc.address)
        self._drop_waiting = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)(drop_waiting.address)
        self._publish_table = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)(publish_table.address)
        self._publish_word = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 3)(publish_anywhere.address)

    def add_worker_block(self, block: Block) -> None:
        """Makes a worker known to whoever must wait for the workers."""
        count = self.callback_context.read(at.CONTEXT_WORKERS)
        self.callback_context.write(at.CONTEXT_WORKER + 8 * count, block.address)
        self.callback_context.write(at.CONTEXT_WORKERS, count + 1)

    def publish_table(self, worker: int, table: int) -> None:
        """Swaps a worker's table and returns after the grace period."""
        self._publish_table(worker, table)

    def publish_word(self, address: int, value: int) -> None:
        """Writes a word that any worker may read and returns when none uses the old value."""
        self._publish_word(self.callback_context.address, address, value)

    def tsc(self) -> int:
        """The time stamp counter now."""
        now: int = self._tsc()
        return now

    def drop_waiting(self, entry: int, counter: int) -> None:
        """Frees what waits in an entry that no table has, counted at the offset `counter`."""
        self._drop_waiting(entry, counter)

    def take_events(self) -> list[GuestEvent]:
        """What vhost's callbacks have pushed since the last call; the caller was woken by `roused`."""
        if not self.roused.taken():
            return []
        events = []
        tail = self.callback_context.read(at.EVENTS_TAIL)
        while True:
            slot = at.EVENTS + (tail % at.EVENT_SLOTS) * at.EVENT_SIZE
            if self.callback_context.read(slot) != tail + 1:
                break
            word = self.callback_context.read(slot + 8)
            events.append(GuestEvent(word >> 32, word & 0xFFFFFFFF))
            tail += 1
            self.callback_context.write(at.EVENTS_TAIL, tail)
        return events
