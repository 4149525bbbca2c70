"""The works on which vio4wd and testpmd are compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.kit.testpmd import PortStats

Rate = Callable[[PortStats], int]


def _received(stats: PortStats) -> int:
    return stats.rx_pps


def _sent(stats: PortStats) -> int:
    return stats.tx_pps


@dataclass(frozen=True, slots=True)
class Case:
    """One work: what the VF and the guest do, and which of the guest's rates is the result."""

    name: str
    words: str
    vf_arguments: str
    """Of the `net_null` that stands for the VF, the same on both sides."""
    guest_mode: str
    frame_bytes: int
    rate: Rate
    least: float | None
    """The least ratio that counts as reached; None: shown, not judged."""

    def vf(self, number: int) -> str:
        return f"net_null{number},{self.vf_arguments}"


CASES = (
    Case("64-vf-to-vm", "64 B, VF to VM", "size=64", "rxonly", 64, _received, 1.05),
    Case("64-vm-to-vf", "64 B, VM to VF", "size=64", "txonly", 64, _sent, 1.05),
    Case("64-vm-to-silent-vf", "64 B, VM to VF, nothing coming in", "size=64,no-rx=1", "txonly", 64, _sent, None),
    # What the guest sends back has crossed the relay once already: its sending rate is that of the whole loop.
    Case("64-loop", "64 B, VF to VM and back", "size=64", "io", 64, _sent, 1.0),
    Case("1518-both-ways", "1518 B, VF to VM and back", "size=1518", "io", 1518, _sent, 1.0),
)
"""`net_null` makes up frames without end and swallows what it is sent, unless `no-rx`."""
