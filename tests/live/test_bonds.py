"""Bonds on real DPDK. Members are af_packet devices on wires, whose carrier goes when the network's end goes down."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pytest

from engine.api.live import LiveMember
from tests.kit import cleanup
from tests.kit.network.netns import PingReport, run
from tests.kit.network.numbered_frames import ETHERTYPE, frame, number_of
from tests.kit.runner.repetitions import times
from tests.kit.spec_file import RelayLine
from tests.kit.topology import GUEST_MAC, WORKER_CPU, Topology, topology, unaccounted
from tests.kit.waiting import wait_for

FRAMES = 64
QUIET_S = 2.0
BRIDGE, ADDRESS, GUEST_ADDRESS = "br0", "10.78.0.1/24", "10.78.0.2"
LINKS = {"link-up", "link-down", "members-changed"}
BY_ONE = {"active-backup", "tlb", "alb"}
"""Modes in which all frames of one flow leave through one member."""


@dataclass(frozen=True, slots=True)
class BondLine(RelayLine):
    """A relay of a spec that has a bond."""

    mode: str = "active-backup"
    members: tuple[str, ...] = ()

    def __str__(self) -> str:
        bond = {"name": f"net_bonding{self.id}", "mode": self.mode, "members": self.members}
        return json.dumps({"id": self.id, "bond": bond, "cpus": self.cpus})


def bond(made: Topology, relay: int, wires: Sequence[int], mode: str) -> None:
    """Makes one relay of these wires, instead of one of each."""
    made.lines = {id_: line for id_, line in made.lines.items() if id_ not in wires and id_ != relay}
    members = tuple(made.wires[wire].vf_device for wire in wires)
    made.lines[relay] = BondLine(relay, "", (WORKER_CPU,), mode=mode, members=members)
    made.save()


def members(made: Topology, relay: int = 1) -> tuple[LiveMember, ...]:
    """The live members of a relay's bond; none while it is not live."""
    seen = made.instance.observed()
    return seen.live.port(f"net_bonding{relay}").members if seen else ()


def active(made: Topology, relay: int = 1) -> list[int]:
    """The numbers of the wires whose members are active."""
    names = {wire.vf_device.partition(",")[0]: number for number, wire in made.wires.items()}
    return sorted(names[member.name] for member in members(made, relay) if member.active)


def wait_active(made: Topology, wires: Sequence[int], relay: int = 1) -> None:
    wait_for(f"the active members to be {wires}", lambda: active(made, relay) == list(wires), 60.0)


def send_and_collect(made: Topology, through: int, wires: Sequence[int], count: int = FRAMES) -> dict[int, list[int]]:
    """Numbered frames into one wire: which come back on each wire, the guest sending back what it gets."""
    with contextlib.ExitStack() as stack:
        ends = {wire: made.namespace.packet_socket(made.wires[wire].inner, ETHERTYPE) for wire in wires}
        for end in ends.values():
            stack.enter_context(end)
            end.settimeout(0.05)
        for number in range(count):
            ends[through].send(frame(number, 64, b"\x02\0\0\0\0\1", b"\x02\0\0\0\0\2"))
        return _collect(ends)


def _collect(ends: dict[int, socket.socket]) -> dict[int, list[int]]:
    """What arrives until nothing more has arrived for a while."""
    found: dict[int, list[int]] = {wire: [] for wire in ends}
    last = time.monotonic()
    while time.monotonic() - last < QUIET_S:
        for wire, end in ends.items():
            with contextlib.suppress(TimeoutError):
                number = number_of(end.recv(4096))
                if number is not None:
                    found[wire].append(number)
                    last = time.monotonic()
    return found


@pytest.fixture(scope="module")
def two_wires() -> Iterator[Topology]:
    """One relay over a bond of two wires, whose guest sends back what it gets."""
    with topology((1, 2), run=False) as made:
        bond(made, 1, (1, 2), "active-backup")
        made.instance.run()
        made.boot(1, "io")
        yield made


@pytest.mark.parametrize("mode", ["active-backup", "round-robin", "balance", "broadcast", "tlb", "alb"])
def test_every_mode_forwards(two_wires: Topology, mode: str) -> None:
    """Each replaces the one before under a connected guest, which stays."""
    session = two_wires.session(1)
    bond(two_wires, 1, (1, 2), mode)
    two_wires.instance.wait_applied()
    wait_for("two members with links", lambda: [m.link for m in members(two_wires)] == ["up", "up"])
    wait_for("an active member", lambda: active(two_wires), 30.0)
    found = send_and_collect(two_wires, active(two_wires)[0], (1, 2))
    everything = sorted(number for numbers in found.values() for number in numbers)
    if mode == "broadcast":
        assert found == {1: list(range(FRAMES)), 2: list(range(FRAMES))}
    else:
        assert everything == list(range(FRAMES))
    if mode == "round-robin":
        assert min(len(numbers) for numbers in found.values()) >= FRAMES // 4
    if mode in BY_ONE:
        assert min(len(numbers) for numbers in found.values()) == 0
    assert two_wires.session(1) == session


def test_a_member_that_loses_its_link_is_announced_and_status_says_since_when(two_wires: Topology) -> None:
    """Also where the bond's own link stays, and another member than the active one is concerned."""
    bond(two_wires, 1, (1, 2), "active-backup")
    two_wires.instance.wait_applied()
    wait_active(two_wires, (1,))
    wait_for("two members with links", lambda: [m.link for m in members(two_wires)] == ["up", "up"])
    with contextlib.closing(two_wires.instance.client.events()) as stream:
        wait_for("the engine to be listened to", stream.drain)
        for up, condition in ((False, "Degraded"), (True, "Ready")):
            two_wires.wires[2].set_carrier(up)
            event = wait_for("an event", lambda: next((e for e in stream.drain() if e["event"] in LINKS), None))
            assert (event["event"], event["resource"], event["relay"]) == ("members-changed", "port:net_bonding1", 1)
            two_wires.wait_condition(1, condition)
            wait_for("since when", lambda: two_wires.relay_status(1)["since"], 30.0, 0.2)


def test_a_bond_comes_and_goes_and_nothing_stays(two_wires: Topology) -> None:
    """Also as often as DPDK has ports several times over: none is lost."""
    line = two_wires.lines[1]
    two_wires.end_guests()
    for _ in range(times(12, 60)):
        two_wires.lines = {}
        two_wires.save()
        two_wires.instance.wait_state("an engine without ports", lambda state: not state.ports)
        two_wires.lines = {1: line}
        two_wires.save()
        two_wires.instance.wait_applied()
    wait_for("links", lambda: [m.link for m in members(two_wires)] == ["up", "up"])


@contextlib.contextmanager
def bridged(mode: str) -> Iterator[Topology]:
    """As `two_wires`, with a guest that answers ping and the wires' far ends joined by a bridge, as a switch does."""
    with topology((1, 2), run=False) as made:
        inside = made.namespace.run
        inside(["ip", "link", "add", BRIDGE, "type", "bridge"])
        for wire in made.wires.values():
            inside(["ip", "address", "flush", "dev", wire.inner])
            inside(["ip", "link", "set", wire.inner, "master", BRIDGE])
        inside(["ip", "address", "add", ADDRESS, "dev", BRIDGE])
        inside(["ip", "link", "set", BRIDGE, "up"])
        inside(["ip", "neigh", "replace", GUEST_ADDRESS, "lladdr", GUEST_MAC, "dev", BRIDGE])
        bond(made, 1, (1, 2), mode)
        made.instance.run()
        made.boot(1)
        wait_active(made, (1,) if mode == "active-backup" else (1, 2))
        yield made


def ping(made: Topology, count: int = 100) -> PingReport:
    return made.namespace.ping(GUEST_ADDRESS, count, 0.01)


def answered(made: Topology) -> bool:
    """Whether practically every ping is answered: a machine too busy to run the guest for a second loses one or two."""
    return ping(made).loss < 0.05


def test_failover_both_ways(capsys: pytest.CaptureFixture[str]) -> None:
    """The active member's link goes: the other takes over, keeps it when the link is back, and gives it back when its
    own goes."""
    with bridged("active-backup") as made:
        assert answered(made)
        for gone, left in ((1, 2), (2, 1)):
            answers = _ping_while(made, gone)
            wait_active(made, (left,))
            with capsys.disabled():
                print(f"\nfailover from member {gone} to {left}: {answers.lost} of {answers.sent} pings lost")
            assert made.wait_condition(1, "Degraded")["message"].startswith("the link of net_af_packet")
            assert answered(made)
            made.wires[gone].set_carrier(True)
            made.wait_condition(1, "Ready")
            assert active(made) == [left]
            assert answered(made)
        assert [m["link"] for m in made.relay_status(1)["members"]] == ["up", "up"]


def _ping_while(made: Topology, gone: int) -> PingReport:
    """Pings while a wire loses its carrier in the midst of them."""
    line = made.namespace.command(["sh", "-c", f"sleep 0.5; ip link set {made.wires[gone].inner} down"])
    with contextlib.ExitStack() as stack:
        stack.enter_context(subprocess.Popen(line))
        return ping(made, 200)


def test_a_member_without_link_is_left_out_and_taken_back() -> None:
    """In a mode that uses all members, half of the frames would be lost with it."""
    with topology((1, 2), run=False) as made:
        bond(made, 1, (1, 2), "round-robin")
        made.instance.run()
        made.boot(1, "io")
        wait_active(made, (1, 2))
        made.wires[2].set_carrier(False)
        wait_active(made, (1,))
        assert send_and_collect(made, 1, (1,)) == {1: list(range(FRAMES))}
        made.wires[2].set_carrier(True)
        wait_active(made, (1, 2))
        found = send_and_collect(made, 2, (1, 2))
        assert sorted(found[1] + found[2]) == list(range(FRAMES))
        assert found[1]
        assert found[2]
        for wire in (1, 2):
            made.wires[wire].set_carrier(False)
        made.wait_condition(1, "Degraded")
        made.wires[2].set_carrier(True)
        wait_active(made, (2,))
        assert send_and_collect(made, 2, (2,)) == {2: list(range(FRAMES))}


def test_members_join_and_leave_under_traffic() -> None:
    """Frames cross all the while through the member that stays, none lost; the guest notices nothing."""
    with topology((1, 2, 3), run=False) as made:
        bond(made, 1, (1, 2), "active-backup")
        del made.lines[3]
        made.save()
        made.instance.run()
        made.boot(1, "io")
        wait_active(made, (1,))
        session = made.session(1)
        with made.flow(1) as flow:
            for wires in ((1, 2, 3), (1, 3), (3, 1), (1,), (1, 2)) * times(1, 10):
                bond(made, 1, wires, "active-backup")
                made.instance.wait_applied()
                assert len(members(made)) == len(wires)
            report = flow.finish()
        assert report.clean, report
        assert made.session(1) == session
        assert not [step for step in made.changes() if step.startswith("replace")]
        assert unaccounted(made.counters(1)["vf_to_vm"]) == 0


def test_the_active_member_leaves() -> None:
    with bridged("active-backup") as made:
        bond(made, 1, (2,), "active-backup")
        made.instance.wait_applied()
        wait_active(made, (2,))
        # A bridge that saw no link go has to hear from the guest first; taking its port down says it.
        made.wires[1].set_carrier(False)
        assert answered(made)


def test_a_member_that_cannot_join_changes_nothing() -> None:
    with topology((1, 2), run=False) as made:
        bond(made, 1, (1, 2), "round-robin")
        made.instance.run()
        made.boot(1, "io")
        wait_active(made, (1, 2))
        good = made.lines[1]
        assert isinstance(good, BondLine)
        made.lines[1] = replace(good, members=(*good.members, "net_af_packet99,iface=v4absent"))
        made.save()
        assert "its member net_af_packet99 cannot be attached" in made.wait_condition(1, "Degraded")["message"]
        found = send_and_collect(made, 1, (1, 2))
        assert sorted(found[1] + found[2]) == list(range(FRAMES))
        made.lines[1] = good
        made.save()
        made.wait_condition(1, "Ready")
        assert len(members(made)) == 2


def test_a_member_that_bonding_cannot_use_leaves_nothing() -> None:
    """net_ring takes no MAC address, so the bond does not start; what was made for it goes, each time it is tried."""
    with topology((1, 2), run=False) as made:
        bond(made, 1, (1, 2), "active-backup")
        good = made.lines[1]
        assert isinstance(good, BondLine)
        made.lines[1] = replace(good, mode="round-robin", members=("net_ring3", good.members[0]))
        made.save()
        made.instance.run(wait=False)
        made.instance.wait_state("an engine", lambda state: bool(state.workers), 120.0)
        said = made.wait_condition(1, "Degraded")["message"]
        assert "net_bonding1" in said
        for _ in range(3):
            made.instance.call("apply", str(made.instance.file))
        made.lines[1] = good
        made.save()
        made.instance.wait_applied()
        made.boot(1)
        assert made.ping(1).received == 10


def test_lacp_between_two_relays() -> None:
    """Two 802.3ad bonds, each the other's partner over two cables, agree before any guest is there, and keep it."""
    with topology((), run=False) as made, cable("a") as (a1, a2), cable("b") as (b1, b2):
        for relay, ends in ((1, (a1, b1)), (2, (a2, b2))):
            devices = tuple(f"net_af_packet{10 * relay + i},iface={end}" for i, end in enumerate(ends))
            made.lines[relay] = BondLine(relay, "", (WORKER_CPU,), mode="802.3ad", members=devices)
        made.save()
        made.instance.run()
        wait_for("both bonds to agree on both members", lambda: aggregated(made), 60.0)
        made.boot(2, "io")
        made.boot(1, "txonly")
        made.wait_more(2, "vf_to_vm", 1000)
        # Guest 1 takes nothing of what comes back: its relay has to hear its partner all the same.
        wait_for("drops", lambda: made.counters(1)["vf_to_vm"]["guest_full_packets"] > 1000, 60.0)
        time.sleep(5.0)  # longer than LACP's short time-out
        assert aggregated(made)


def aggregated(made: Topology) -> bool:
    return [[member.active for member in members(made, relay)] for relay in (1, 2)] == [[True, True]] * 2


@contextlib.contextmanager
def cable(name: str) -> Iterator[tuple[str, str]]:
    """A veth pair of which both ends are VFs."""
    ends = f"v4{os.getpid():x}{name}1", f"v4{os.getpid():x}{name}2"
    run(["ip", "link", "add", ends[0], "type", "veth", "peer", "name", ends[1]])

    def cut() -> None:
        run(["ip", "link", "del", ends[0]], check=False)

    cleanup.register(cut, cut)
    try:
        for end in ends:
            run(["ethtool", "-K", end, "tx", "off"])
            run(["sh", "-c", f"echo 1 > /proc/sys/net/ipv6/conf/{end}/disable_ipv6"], check=False)
            run(["ip", "link", "set", end, "promisc", "on", "up"])
        yield ends
    finally:
        cleanup.release(cut)
        cut()


def test_a_bond_too_many_is_refused_with_the_sum() -> None:
    """Four engines with 32 ports each is all there may be."""
    with topology((), run=False) as made:
        eight = [[f"net_null{8 * b + i}" for i in range(8)] for b in range(15)]
        made.lines = {b: BondLine(b, "", (WORKER_CPU,), members=tuple(names)) for b, names in enumerate(eight)}
        made.save()
        done = made.instance.call("plan", str(made.instance.file))
        assert done.returncode == 1
        assert "15 x 9 for bonds of 8" in done.stderr
