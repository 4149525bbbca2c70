"""Relays over the machine's NICs, with guests and what flows between them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field

from tests.kit.guests.guest import TestpmdGuest, wait_for_socket
from tests.kit.guests.testpmd import Cpus
from tests.kit.instance import Instance
from tests.kit.network.netns import Namespace
from tests.kit.network.numbered_frames import SequencedFlow
from tests.kit.topology import GUEST_MAC, wait_frames
from tests.sriov.machine import PciWire, yielding
from tests.sriov.waits import LONG_S, wait_condition

WINDOW = 64


@dataclass
class Pair:
    """A relay over one NIC, whose other end is in a namespace, and a guest that sends frames back."""

    relay: int
    wire: PciWire
    guest: TestpmdGuest | None = None


@dataclass
class Bench:
    instance: Instance
    namespace: Namespace
    stack: contextlib.ExitStack
    pairs: dict[int, Pair] = field(default_factory=dict)

    def lay(self, relay: int, vf: str, peer: str) -> PciWire:
        wire = self.stack.enter_context(PciWire(self.namespace, f"10.88.{relay}.1/24", vf, peer))
        self.pairs[relay] = Pair(relay, wire)
        return wire

    def boot(self, relay: int, mode: str = "io", cpu: int = 1, well: bool = True) -> None:
        """A guest, whose memory is on the CPU's node; `well`: its relay forwards then without complaint."""
        path = self.instance.socket(relay)
        wait_for_socket(path, LONG_S)
        guest = TestpmdGuest.started([path], mode, Cpus(cpu, (cpu,)))
        self.stack.callback(guest.kill)
        yielding(guest.pid)
        self.pairs[relay].guest = guest
        if well:
            wait_condition(self.instance, relay, "Ready", "")

    def shut_down(self, relay: int) -> None:
        guest = self.pairs[relay].guest
        assert guest is not None
        guest.kill()
        wait_condition(self.instance, relay, "Pending", "no guest is connected")

    def pass_frames(self, relay: int) -> None:
        with self.flow(relay) as flow:
            wait_frames(flow)

    def flow(self, relay: int) -> SequencedFlow:
        return SequencedFlow(self.pairs[relay].wire, rate_pps=500, window=WINDOW)

    def ping(self, relay: int, count: int = 10) -> int:
        wire, address = self.pairs[relay].wire, f"10.88.{relay}.2"
        self.namespace.run(["ip", "neigh", "replace", address, "lladdr", GUEST_MAC, "dev", wire.inner])
        return self.namespace.ping(address, count, 0.1).received


def bound(relay: int, address: str) -> str:
    """A relay over a PCI function that vio4wd binds, as `text` takes it."""
    return f"id: {relay}, vf: {address}, bind: true"
