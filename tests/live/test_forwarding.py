"""A packet crosses, and what is counted is what crossed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kit.network.netns import run
from tests.kit.network.numbered_frames import ETHERTYPE, frame
from tests.kit.topology import Topology, shrunken, topology, unaccounted, wait_frames
from tests.kit.waiting import wait_for

PINGS = 50
PING_FRAME_BYTES = 98
FRAME_SIZES = (60, 64, 65, 128, 594, 1280, 1514)


@pytest.fixture(scope="module")
def relayed() -> Iterator[Topology]:
    with topology() as made:
        yield made


def grown(before: dict[str, dict[str, int]], after: dict[str, dict[str, int]], way: str) -> dict[str, int]:
    """What a direction counted between two looks, without what it counted 0 of and its cycles."""
    found = {name: value - before[way][name] for name, value in after[way].items() if name != "busy_cycles"}
    return {name: value for name, value in found.items() if value}


def send(made: Topology, sizes: tuple[int, ...]) -> None:
    """Frames of these sizes into relay 1's wire."""
    wire = made.wires[1]
    with made.namespace.packet_socket(wire.inner, ETHERTYPE) as out:
        for number, size in enumerate(sizes):
            out.send(frame(number, size, b"\x02\0\0\0\0\1", b"\x02\0\0\0\0\2"))


def test_without_a_guest_frames_are_dropped_and_counted(relayed: Topology) -> None:
    before = relayed.counters(1)
    send(relayed, FRAME_SIZES)
    total = len(FRAME_SIZES)
    wait_for("the drops", lambda: relayed.counters(1)["vf_to_vm"]["guest_absent_packets"] >= total)
    counted = grown(before, relayed.counters(1), "vf_to_vm")
    assert counted == {
        "rx_packets": total,
        "rx_bytes": sum(FRAME_SIZES),
        "guest_absent_packets": total,
        "guest_absent_bytes": sum(FRAME_SIZES),
    }


def test_ping_crosses_and_stats_count_exactly_that(relayed: Topology) -> None:
    before = relayed.counters(1)
    relayed.boot(1, "icmpecho")
    report = relayed.ping(1, PINGS)
    relayed.end_guests()
    assert (report.received, report.duplicates) == (PINGS, 0)
    crossed = {
        "rx_packets": PINGS,
        "rx_bytes": PINGS * PING_FRAME_BYTES,
        "tx_packets": PINGS,
        "tx_bytes": PINGS * PING_FRAME_BYTES,
    }
    told = relayed.instance.stats()["relays"]["1"]
    for way in ("vf_to_vm", "vm_to_vf"):
        assert grown(before, told, way) == crossed


def test_frames_of_every_size_cross_both_ways_whole(relayed: Topology) -> None:
    before = relayed.counters(1)
    guest = relayed.boot(1, "io")
    with relayed.namespace.packet_socket(relayed.wires[1].inner, ETHERTYPE) as back:
        back.settimeout(30.0)
        send(relayed, FRAME_SIZES)
        returned = [back.recv(4096) for _ in FRAME_SIZES]
    assert returned == [
        frame(number, size, b"\x02\0\0\0\0\1", b"\x02\0\0\0\0\2") for number, size in enumerate(FRAME_SIZES)
    ]
    assert guest.port_stats().rx_packets == len(FRAME_SIZES)
    relayed.end_guests()
    after = relayed.counters(1)
    for way in ("vf_to_vm", "vm_to_vf"):
        assert grown(before, after, way)["tx_bytes"] == sum(FRAME_SIZES)
        assert unaccounted(after[way]) == 0


def test_a_guest_that_takes_nothing_costs_only_its_own_relay() -> None:
    """Overload is dropped before the relay reads it, and counted as the port's; the neighbour's frames all cross."""
    with topology((1, 2)) as made:
        made.boot(2, "io")
        made.boot(1, "io").stop()
        with made.storm(1) as stuck, made.flow(2) as flow:
            wait_for("3000 frames towards the guest that rests", lambda: stuck.sent >= 3000)
            wait_frames(flow)
            assert flow.finish().clean
        counted = made.counters(1)
        assert counted["vf_to_vm"]["tx_packets"] < 3000
        assert unaccounted(counted["vf_to_vm"]) <= 32  # what waits in the entry for room
        made.guests[1].start()
        with made.flow(1) as flow:
            wait_frames(flow)


def test_a_wire_that_vanishes_costs_only_its_own_relay() -> None:
    """Somebody removes the interface under a relay's port while the other relay carries frames."""
    with topology((1, 2)) as made:
        made.boot(1, "io")
        made.boot(2, "io")
        before, session = made.counters(2), made.session(2)
        with made.flow(1) as gone:
            wait_frames(gone)
        with made.flow(2) as flow:
            wait_frames(flow)
            run(["ip", "link", "del", made.wires[1].vf])
            wait_frames(flow, 2000)
            assert flow.finish().clean
        made.instance.check_running()
        assert made.session(2) == session
        assert not shrunken(before, made.counters(2))
