"""Relays: two entries each, one a direction, and where they are polled."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from engine.api.fault import Refused
from engine.burst.compiled import layout as at
from engine.burst.compiled.memory import Block
from engine.dataplane.context import Context
from engine.dataplane.ports import Ports
from engine.dataplane.sockets import Sockets
from engine.dataplane.workers import Workers
from schema.model import Pin, Relay

DROP_WHEN_FLUSHED = {at.VF_TO_VM: (at.GUEST_FULL, at.GUEST_ABSENT), at.VM_TO_VF: (at.VF_FULL, at.VF_ABSENT)}
"""Counters for what still waits when an entry ends: the receiver is there but was full, or it is gone."""


@dataclass(slots=True)
class LiveRelay:
    relay: Relay
    pin: Pin
    vf_to_vm: Block
    vm_to_vf: Block
    port: Block
    """Kept here because the entries hold its address, also while the port is gone."""

    def entries(self) -> tuple[tuple[Block, int], ...]:
        """Each direction's entry and the CPU that polls it, in the order in which a worker visits them: what a device
        gives back at once is on its way to the guest in the same pass."""
        return (self.vm_to_vf, self.pin.vm_to_vf), (self.vf_to_vm, self.pin.vf_to_vm)


def offload_mode(asked: bool, by_device: bool) -> int:
    """Who does what a guest may leave open."""
    if not asked:
        return at.NONE
    return at.HARDWARE if by_device else at.SOFTWARE


class Relays:
    """The live relays by id."""

    def __init__(self, context: Context, ports: Ports, sockets: Sockets, workers: Workers) -> None:
        self._context = context
        self._ports = ports
        self._sockets = sockets
        self._workers = workers
        self.by_id: dict[int, LiveRelay] = {}

    def add(self, relay: Relay, pin: Pin) -> None:
        if relay.id in self.by_id:
            raise Refused("exists", f"relay {relay.id} exists already")
        self._check(relay)
        self._workers.require(pin.vf_to_vm, pin.vm_to_vf)
        port = self._ports.require(relay.port).block
        live = LiveRelay(relay, pin, Block(at.ENTRY_SIZE), Block(at.ENTRY_SIZE), port)
        live.vm_to_vf.write(at.ENTRY_DIRECTION, at.VM_TO_VF)
        self._connect(live)
        self._give(live)
        self.by_id = {**self.by_id, relay.id: live}

    def _check(self, relay: Relay) -> None:
        self._ports.require(relay.port)
        self._sockets.require(relay.socket)
        for other in self.by_id.values():
            if other.relay.id != relay.id and other.relay.port == relay.port:
                raise Refused("in-use", f"port {relay.port} is held by relay {other.relay.id}")
            if other.relay.id != relay.id and other.relay.socket == relay.socket:
                raise Refused("in-use", f"socket {relay.socket} is held by relay {other.relay.id}")

    def _connect(self, live: LiveRelay) -> None:
        """Points the entries, which no table may have, at the relay's port and guest."""
        attached = self._ports.by_name.get(live.relay.port)
        if attached:
            live.port = attached.block
        guest = self._sockets.guest_block(live.relay.socket)
        if attached:
            port, to_vf = attached.port, live.vm_to_vf
            to_vf.write(at.ENTRY_CHECKSUM, offload_mode(port.checksums, attached.checksums))
            to_vf.write(at.ENTRY_SEGMENTS, offload_mode(port.tso, attached.tso))
            to_vf.write(at.ENTRY_MTU, port.mtu)
        for entry, _cpu in live.entries():
            entry.write(at.ENTRY_PORT, live.port.address)
            entry.write(at.ENTRY_GUEST, guest)

    def _give(self, live: LiveRelay) -> None:
        for entry, cpu in live.entries():
            self._workers.give(entry.address, cpu)

    def quiet(self, live: LiveRelay) -> None:
        """Takes the relay's entries off their workers and drops what waits in them."""
        for entry, _cpu in live.entries():
            self._workers.take(entry.address)
            self._flush(entry)

    def _flush(self, entry: Block) -> None:
        full, _absent = DROP_WHEN_FLUSHED[entry.read(at.ENTRY_DIRECTION)]
        self._context.drop_waiting(entry.address, full)

    def remove(self, relay_id: int) -> None:
        live = self.require(relay_id)
        self.quiet(live)
        self.by_id = {key: value for key, value in self.by_id.items() if key != relay_id}

    def update(self, relay: Relay) -> None:
        """Gives the relay another port or socket; its counters go on."""
        live = self.require(relay.id)
        self._check(relay)
        self.quiet(live)
        live.relay = relay
        self._connect(live)
        self._give(live)

    @contextlib.contextmanager
    def paused(self, live: LiveRelay | None) -> Iterator[None]:
        """While it lasts no worker touches the relay's port; what waits in the entries goes on waiting."""
        if live is None:
            yield
            return
        for entry, _cpu in live.entries():
            self._workers.take(entry.address)
        try:
            yield
        finally:
            self._give(live)

    def resume(self, live: LiveRelay) -> None:
        """Puts the entries of a quiet relay back, after its port or socket was replaced."""
        self._connect(live)
        self._give(live)

    def migrate(self, pin: Pin) -> None:
        """Moves directions to other workers; what waits in an entry goes along, so nothing is lost or reordered."""
        live = self.require(pin.relay)
        self._workers.require(pin.vf_to_vm, pin.vm_to_vf)
        before, live.pin = live.entries(), pin
        for (entry, old_cpu), (_same, cpu) in zip(before, live.entries(), strict=True):
            if cpu != old_cpu:
                self._workers.take(entry.address)
                self._workers.give(entry.address, cpu)

    def require(self, relay_id: int) -> LiveRelay:
        live = self.by_id.get(relay_id)
        if live is None:
            raise Refused("unknown", f"there is no relay {relay_id}")
        return live

    def holder(self, *, port: str | None = None, socket: str | None = None) -> LiveRelay | None:
        """The relay that has this port or this socket."""
        for live in self.by_id.values():
            if (port is not None and live.relay.port == port) or (socket is not None and live.relay.socket == socket):
                return live
        return None
