"""The neighbour of a faulty relay: relay 2, which must not notice anything."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tests.kit.network.numbered_frames import SequencedFlow
from tests.kit.topology import WINDOW, Topology, shrunken, unaccounted, wait_frames

NEIGHBOUR = 2
PACE_PPS = 500
"""So slow that a busy machine can carry it too: what is lost was lost by the relay."""
WAYS = ("vf_to_vm", "vm_to_vf")


@contextlib.contextmanager
def neighbour(made: Topology) -> Iterator[SequencedFlow]:
    """Numbered frames to relay 2's guest, in `io` mode, and back, for as long as the block lasts.

    At its end all must have come back, once each and in order, through the same connection of the guest to the same
    engine; no counter has shrunk, and each packet that was received was sent.
    """
    before, session = made.counters(NEIGHBOUR), made.session(NEIGHBOUR)
    with SequencedFlow(made.wires[NEIGHBOUR], rate_pps=PACE_PPS, window=WINDOW) as flow:
        wait_frames(flow, 64)
        yield flow
        wait_frames(flow, 64)
        report = flow.finish()
    made.instance.check_running()
    assert report.clean, report
    assert made.session(NEIGHBOUR) == session
    after = made.counters(NEIGHBOUR)
    assert not shrunken(before, after)
    assert [unaccounted(after[way]) for way in WAYS] == [0, 0]
    assert after["port"]["rx_nombuf"] == 0
