"""One direction of one relay, slow and obvious: what the compiled turns are compared with."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from engine.burst.compiled import layout as at
from engine.dpdk.layout import VHOST_F_LOG_ALL, VIRTIO_F_RING_PACKED

ROOM_IS_UNKNOWN = (1 << VHOST_F_LOG_ALL, 1 << VIRTIO_F_RING_PACKED)
BURST = 32


@dataclass(frozen=True, slots=True)
class Packet:
    serial: int
    length: int


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an entry finds in one turn."""

    vf: bool
    guest: bool
    features: int
    arrives: tuple[int, ...]
    """Lengths of the packets that reach the NIC's or the guest's queue before the turn."""
    room: int
    """What the guest's ring says it has room for."""
    takes: int
    """How many packets the receiver takes if it is offered more: a guest need not keep its word."""


@dataclass(slots=True)
class ReferenceEntry:
    direction: int
    inbox: deque[Packet] = field(default_factory=deque)
    waiting: list[Packet] = field(default_factory=list)
    sent: list[Packet] = field(default_factory=list)
    dropped: dict[str, list[Packet]] = field(default_factory=dict)
    received: list[Packet] = field(default_factory=list)
    room: int = 0
    """What the guest's ring has said it has room for, less what it took since."""
    service: bool = False
    """The VF is a port that needs a burst each way in every turn."""
    served: int = 0
    """Bursts of nothing that were sent."""

    def poll(self, now: Surroundings) -> int:
        """How many packets moved."""
        moved = self._vf_to_vm(now) if self.direction == at.VF_TO_VM else self._vm_to_vf(now)
        return self._serve() if not moved and self.service and now.vf else moved

    def _serve(self) -> int:
        if self.direction == at.VM_TO_VF:
            self.served += 1
            return 0
        if self.waiting:
            self._drop("guest_full")
        return self._receive(BURST)

    def _vf_to_vm(self, now: Surroundings) -> int:
        if not now.guest:
            self.room = 0
            if not self.waiting and now.vf:
                self._receive(BURST)
            return self._drop("guest_absent")
        if self.waiting:
            return self._send(now.takes)
        if not now.vf:
            return 0
        bounded = not any(now.features & feature for feature in ROOM_IS_UNKNOWN)
        if bounded and self.room < BURST:
            self.room = now.room
        received = self._receive(min(BURST, self.room) if bounded else BURST)
        self._send(now.takes)
        return received

    def _vm_to_vf(self, now: Surroundings) -> int:
        if self.waiting:
            return self._send(now.takes) if now.vf else self._drop("vf_absent")
        if not now.guest:
            return 0
        received = self._receive(BURST)
        if now.vf:
            self._send(now.takes)
        else:
            self._drop("vf_absent")
        return received

    def _receive(self, most: int) -> int:
        count = min(most, len(self.inbox))
        self.waiting = [self.inbox.popleft() for _ in range(count)]
        self.received += self.waiting
        return count

    def _send(self, takes: int) -> int:
        count = min(takes, len(self.waiting))
        self.room = self.room - count if count == len(self.waiting) else 0
        self.sent += self.waiting[:count]
        self.waiting = self.waiting[count:]
        return count

    def _drop(self, reason: str) -> int:
        count = len(self.waiting)
        self.dropped.setdefault(reason, []).extend(self.waiting)
        self.waiting = []
        return count

    def counters(self) -> dict[str, int]:
        """As the engine names them, without the cycles."""
        reasons = {"rx": self.received, "tx": self.sent, **self.dropped}
        found = {name: 0 for name in at.COUNTERS if name != "busy_cycles"}
        for reason, packets in reasons.items():
            found[f"{reason}_packets"] = len(packets)
            found[f"{reason}_bytes"] = sum(packet.length for packet in packets)
        return found
