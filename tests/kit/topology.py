"""A vio4wd with wires and guests around it: what nearly every test in here starts from."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from engine.api.live import LiveSocket
from tests.kit.guests.guest import TestpmdGuest, wait_for_socket
from tests.kit.guests.testpmd import Cpus
from tests.kit.instance import Instance
from tests.kit.network.netns import Namespace, PingReport, VethWire
from tests.kit.network.numbered_frames import SequencedFlow
from tests.kit.spec_file import RelayLine, spec_text
from tests.kit.waiting import wait_for

CPUS = sorted(os.sched_getaffinity(0))
MAIN_CPU, WORKER_CPU = CPUS[0], CPUS[-1]
GUEST_CPUS = Cpus(MAIN_CPU, (MAIN_CPU,))
"""A guest polls without rest, so it stays off the worker's CPU where there are two."""
GUEST_MAC = "02:00:00:00:00:00"
RATE_PPS = 2000
WINDOW = 192
"""Frames on their way at most: less than a virtqueue holds."""


@dataclass(frozen=True, slots=True)
class Session:
    """Which connection of which guest it is."""

    boot_id: str
    vid: int | None
    connects: int


@dataclass(slots=True)
class Topology:
    """One namespace, a wire and at most one guest for each relay, and the instance that joins them."""

    instance: Instance
    namespace: Namespace
    stack: contextlib.ExitStack
    keys: dict[str, Any]
    """For `spec_text`."""
    mtu: int = 1500
    packed: bool | None = None
    """Of all wires and lines."""
    wires: dict[int, VethWire] = field(default_factory=dict)
    lines: dict[int, RelayLine] = field(default_factory=dict)
    guests: dict[int, TestpmdGuest] = field(default_factory=dict)

    def wire(self, relay: int) -> VethWire:
        """Lay a relay's wire and write its line; `save` makes it known."""
        wire = VethWire(self.namespace, f"10.77.{relay}.1/24", self.mtu)
        self.stack.enter_context(wire)
        self.wires[relay] = wire
        self.lines[relay] = RelayLine(relay, wire.vf_device, (WORKER_CPU,), packed=self.packed)
        return wire

    @property
    def text(self) -> str:
        return spec_text([self.lines[relay] for relay in sorted(self.lines)], self.instance.sockets, **self.keys)

    def save(self) -> None:
        self.instance.save(self.text)

    def pin(self, relay: int, *cpus: int) -> None:
        self.lines[relay] = replace(self.lines[relay], cpus=cpus)

    def boot(self, relay: int, mode: str = "icmpecho") -> TestpmdGuest:
        """Start a guest on a relay's socket and wait until the engine sees it."""
        path = self.instance.socket(relay)
        wait_for_socket(path)
        before = self.live_socket(relay).connects
        self.guests[relay] = guest = TestpmdGuest.started([path], mode, GUEST_CPUS)
        wait_for(f"guest {relay} to be connected", lambda: self.live_socket(relay).connects > before)
        return guest

    def serve(self, relay: int, mode: str = "icmpecho") -> TestpmdGuest:
        """Start a guest that makes the socket and waits to be connected to. Unlike QEMU it replaces no stale one."""
        path = self.instance.socket(relay)
        path.unlink(missing_ok=True)
        self.guests[relay] = guest = TestpmdGuest.started([path], mode, GUEST_CPUS, device=",server=1")
        return guest

    def live_socket(self, relay: int) -> LiveSocket:
        """One without a guest while there is none."""
        seen = self.instance.observed()
        return seen.live.socket(str(self.instance.socket(relay))) if seen else LiveSocket()

    def session(self, relay: int) -> Session:
        live = self.live_socket(relay)
        return Session(self.instance.client.hello().boot_id, live.vid, live.connects)

    def counters(self, relay: int) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = self.instance.client.counters()["relays"][str(relay)]
        return found

    def wait_more(self, relay: int, way: str, more: int = 1) -> None:
        """Wait until a direction (`vf_to_vm`, `vm_to_vf`) of a relay has taken in another `more` packets."""
        least = self.counters(relay)[way]["rx_packets"] + more
        wait_for(f"{more} packets on relay {relay}", lambda: self.counters(relay)[way]["rx_packets"] >= least, 60.0)

    def ping(self, relay: int, count: int = 10, interval_s: float = 0.01) -> PingReport:
        """Ping a relay's guest without ARP, so that exactly `count` frames go each way if nothing is lost."""
        self.no_arp(relay)
        return self.namespace.ping(self.address(relay), count, interval_s)

    def no_arp(self, relay: int) -> None:
        line = ["ip", "neigh", "replace", self.address(relay), "lladdr", GUEST_MAC, "dev", self.wires[relay].inner]
        self.namespace.run(line)

    def wait_ping(self, relay: int) -> None:
        """Wait until a guest answers."""
        wait_for(f"an answer of guest {relay}", lambda: self.ping(relay, 1).received, 60.0)

    @staticmethod
    def address(relay: int) -> str:
        return f"10.77.{relay}.2"

    def flow(self, relay: int) -> SequencedFlow:
        """Numbered frames to a relay's guest, which must be in `io` mode and send them back; it waits for them."""
        return SequencedFlow(self.wires[relay], rate_pps=RATE_PPS, window=WINDOW)

    def storm(self, relay: int) -> SequencedFlow:
        """Numbered frames that keep coming whether they come back or not."""
        return SequencedFlow(self.wires[relay], rate_pps=2 * RATE_PPS)

    def changes(self) -> list[str]:
        """Everything that was done since the start, oldest first, as the history has it: `add relay:1`."""
        applies = reversed(self.instance.report("history", "--limit", "0")["applies"])
        return [f"{c['action']} {c['resource']}" for a in applies for c in a["plan"]["changes"]]

    def relay_status(self, relay: int) -> dict[str, Any]:
        found: list[dict[str, Any]] = self.instance.status()["relays"]
        return next((each for each in found if each["id"] == relay), {"condition": "", "message": ""})

    def wait_condition(self, relay: int, condition: str) -> dict[str, Any]:
        """Wait until `vio4wd status` gives a relay this condition. Gives its status."""

        def probe() -> dict[str, Any] | None:
            found = self.relay_status(relay)
            return found if found["condition"] == condition else None

        return wait_for(f"relay {relay} to be {condition}", probe, 60.0, 0.2)

    def end_guests(self) -> None:
        while self.guests:
            self.guests.popitem()[1].quit()


@contextlib.contextmanager
def topology(
    relays: Sequence[int] = (1,), run: bool = True, mtu: int = 1500, packed: bool | None = None, **keys: Any
) -> Iterator[Topology]:
    """A topology with a wire for each relay; with `run`, `vio4wd run` has applied them.

    `mtu` is the wires', in bytes; with `packed` guests are offered packed rings.
    `keys` as `spec_text` takes them; by default one worker, on the CPU that the guests are not on.
    """
    keys = {"main_cpu": MAIN_CPU, "worker_cpus": [WORKER_CPU], **keys}
    with Namespace() as namespace, contextlib.ExitStack() as wires, Instance() as instance:
        made = Topology(instance, namespace, wires, keys, mtu, packed)
        for relay in relays:
            made.wire(relay)
        made.save()
        try:
            if run:
                instance.run()
            yield made
        finally:
            made.end_guests()


def wait_frames(flow: SequencedFlow, more: int = 200) -> None:
    """Wait until another `more` frames of a flow have come back."""
    least = flow.received + more
    wait_for(f"{more} frames to come back", lambda: flow.received >= least, 60.0)


def shrunken(before: dict[str, dict[str, int]], after: dict[str, dict[str, int]]) -> list[str]:
    """The counters that went backwards or went away."""
    return [
        f"{group}.{name}: {value} to {after[group].get(name)}"
        for group, fields in before.items()
        for name, value in fields.items()
        if after[group].get(name, -1) < value
    ]


def unaccounted(counted: dict[str, int]) -> int:
    """Packets of one direction that were received and neither sent nor counted as dropped."""
    dropped = sum(value for name, value in counted.items() if re.fullmatch(r"(guest|vf)_\w+_packets", name))
    return counted["rx_packets"] - counted["tx_packets"] - dropped


def descriptors(pid: int) -> list[str]:
    """What a process has open, as /proc names it: `socket:[123]`, a path."""
    found = []
    for link in Path("/proc", str(pid), "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(link))
    return sorted(found)
