"""Pins move while packets pass: none is lost, none comes twice, none overtakes another."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import cycle

import pytest

from tests.kit.network.netns import PingReport
from tests.kit.runner.repetitions import times
from tests.kit.topology import CPUS, MAIN_CPU, WORKER_CPU, Topology, shrunken, topology, wait_frames
from tests.kit.waiting import wait_for

MOVES = times(20, 500)
PLACES = ((MAIN_CPU, MAIN_CPU), (MAIN_CPU, WORKER_CPU), (WORKER_CPU, MAIN_CPU), (WORKER_CPU, WORKER_CPU))
"""VF to VM, VM to VF: each move to the next one takes one direction along, or both."""
FRAMES_BETWEEN = 50

pytestmark = pytest.mark.skipif(len(CPUS) < 2, reason="needs two CPUs")


@pytest.fixture
def two() -> Iterator[Topology]:
    """Relay 1, which moves, and relay 2, which must not notice; its guest sends back numbered frames."""
    with topology((1, 2), worker_cpus=[MAIN_CPU, WORKER_CPU]) as made:
        made.boot(2, "io")
        yield made


def move(made: Topology, place: tuple[int, int]) -> None:
    """Pin relay 1 to `place` by an edit of the file, and wait until it is there."""
    made.pin(1, *place)
    made.save()
    made.instance.wait_state(
        f"relay 1 on CPUs {place}", lambda state: (state.pins[1].vf_to_vm, state.pins[1].vm_to_vf) == place
    )


def check_untouched(made: Topology, done_before: list[str]) -> None:
    """Nothing but the pin of relay 1 was changed."""
    done = made.changes()[len(done_before) :]
    assert done
    assert set(done) == {"migrate pin:1"}


def test_moves_under_numbered_frames(two: Topology) -> None:
    two.boot(1, "io")
    before, session, done = two.counters(2), two.session(2), two.changes()
    with two.flow(1) as flow, two.flow(2) as neighbour:
        for _, place in zip(range(MOVES), cycle(PLACES), strict=False):
            move(two, place)
            wait_frames(flow, FRAMES_BETWEEN)
        report, other = flow.finish(), neighbour.finish()
    assert report.clean, report
    assert other.clean, other
    check_untouched(two, done)
    assert two.session(2) == session
    assert not shrunken(before, two.counters(2))


def way_back(made: Topology, relay: int) -> int:
    """How many frames fewer came out of a wire than went in, as the network's end counts them."""
    sysfs = f"/sys/class/net/{made.wires[relay].inner}/statistics/"
    sent, received = made.namespace.run(["cat", f"{sysfs}tx_packets", f"{sysfs}rx_packets"]).stdout.split()
    return int(sent) - int(received)


def test_moves_under_a_ping_flood(two: Topology) -> None:
    """ping takes a late answer for a lost one, so it is the wire's own count that must be even in the end."""
    two.boot(1, "icmpecho")
    two.no_arp(1)
    lacking, done = way_back(two, 1), two.changes()
    reports: list[PingReport] = []
    stop = threading.Event()

    def flood() -> None:
        while not stop.is_set():
            reports.append(two.namespace.ping(two.address(1), 500, flood=True))

    thread = threading.Thread(target=flood, daemon=True)
    with two.flow(2) as neighbour:
        thread.start()
        for _, place in zip(range(MOVES), cycle(PLACES), strict=False):
            move(two, place)
            two.wait_more(1, "vm_to_vf")
        stop.set()
        thread.join()
        other = neighbour.finish()
    wait_for("the last answer", lambda: way_back(two, 1) == lacking, 30.0)
    assert sum(each.sent for each in reports) >= 500
    assert [each.duplicates for each in reports] == [0] * len(reports)
    assert other.clean, other
    check_untouched(two, done)
