"""The works on which vio4wd is compared, with testpmd or with itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.kit.guests.testpmd import PortStats

Rate = Callable[[PortStats], int]
TESTPMD_RELAYS = 16
"""The most that one testpmd holds: a relay takes two of its 32 ports, for it sees the guest's side as a port too."""


def _received(stats: PortStats) -> int:
    return stats.rx_pps


def _sent(stats: PortStats) -> int:
    return stats.tx_pps


@dataclass(frozen=True, slots=True)
class Case:
    """One work: what VFs and guests do, and which of the guests' rates is the result."""

    name: str
    words: str
    vf_arguments: str
    """Of the virtual device that stands for a VF, the same on both sides."""
    guest_mode: str
    rate: Rate
    frame_bytes: int = 64
    relays: int = 1
    busy: int = 1
    """The first so many relays have traffic. The others have a silent VF and a connected guest that does nothing."""
    queues: int = 1
    packed: bool = False
    bond: bool = False
    alone: bool = False
    """Compared with vio4wd on the first relay alone, not with testpmd."""
    source: str = ""
    """The guest forwards to its virtio port what a net_null of its own with these arguments makes up."""
    least: float = 1.0
    """What the lower end of the ratio's interval must be above."""
    driver: str = "net_null"

    def vf(self, number: int) -> str:
        words = [f"{self.driver}{number}", self.vf_arguments, "" if number < self.busy else "no-rx=1"]
        return ",".join(filter(None, words))

    def at_most(self, relays: int) -> Case:
        """The same work with no more than so many relays."""
        return replace(self, relays=min(relays, self.relays), busy=min(relays, self.busy))


SMALL = "size=64"
CASES = (
    Case("64-vf-to-vm", "64 B, VF to VM", SMALL, "rxonly", _received),
    Case("64-vm-to-vf", "64 B, VM to VF", f"{SMALL},no-rx=1", "io", _sent, source=SMALL),
    # What the guest sends back has crossed the relay once already: its sending rate is that of the whole loop.
    Case("64-loop", "64 B, VF to VM and back", SMALL, "io", _sent),
    Case("1518-both-ways", "1518 B, VF to VM and back", "size=1518", "io", _sent, frame_bytes=1518),
    Case("64-packed", "64 B, packed ring, VF to VM", SMALL, "rxonly", _received, packed=True),
    Case("64-4-queues", "64 B, 4 queues, VF to VM and back", SMALL, "io", _sent, queues=4),
    Case("64-bond", "64 B, bond of two, VF to VM", SMALL, "rxonly", _received, bond=True),
    Case("64-busy-of-32", "64 B, 1 busy relay of 32, VF to VM", SMALL, "rxonly", _received, relays=32),
    Case("64-32-busy", "64 B, 32 busy relays, VF to VM", SMALL, "rxonly", _received, relays=32, busy=32),
    Case(
        "64-beside-idle",
        "64 B, 1 busy relay of 32, beside itself alone",
        SMALL,
        "rxonly",
        _received,
        relays=32,
        alone=True,
        least=0.9,
    ),
)
"""`net_null` makes up frames without end and swallows what it is sent, unless `no-rx`."""
ROUND_TRIP = Case("round-trip", "one packet, VM to VF and back", "", "", _sent, driver="net_ring")
"""`net_ring` gives back what it is sent."""
