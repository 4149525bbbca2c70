"""Marks in Open vSwitch's database, by the real ovs-vsctl, and the relays that follow: with guests and traffic, through
the deaths of the database's server and of vio4wd. The VFs are veth pairs, told by a tree in place of /sys."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.kit.fakes.sysfs import Sysfs
from tests.kit.network.numbered_frames import SequencedFlow
from tests.kit.system.ovsdb_server import BRIDGE, OvsdbServer
from tests.kit.topology import Topology, shrunken, topology, wait_frames
from tests.kit.waiting import wait_for

pytestmark = pytest.mark.needs("ovs")

FILES, OURS, OTHER = 1, 2, 3
"""The file's relay, and those that are marked."""


@dataclass(frozen=True, slots=True)
class HostUnderTest:
    topology: Topology
    server: OvsdbServer

    def netdev(self, relay: int) -> str:
        return self.topology.wires[relay].vf

    def mark(self, relay: int) -> None:
        netdev = self.netdev(relay)
        self.server.vsctl("set", "interface", netdev, "external_ids:virtio_forwarder=1")

    def unmark(self, relay: int) -> None:
        self.server.vsctl("remove", "interface", self.netdev(relay), "external_ids", "virtio_forwarder")

    def relays(self) -> dict[int, str]:
        """Owner by id."""
        return {each["id"]: each["owner"] for each in self.topology.instance.status()["relays"]}

    def faults(self) -> list[str]:
        found: list[str] = self.topology.instance.status()["watch"]["faults"]
        return found

    def left_out(self) -> list[str]:
        found: list[str] = self.topology.instance.status()["watch"]["in_force"]["left_out"]
        return found

    def live(self) -> set[int]:
        seen = self.topology.instance.observed()
        return set(seen.state.relays) if seen is not None else set()

    def wait_live(self, *relays: int) -> None:
        wait_for(f"relays {relays}", lambda: self.live() == set(relays), 60.0, 0.005)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[HostUnderTest]:
    with marked(monkeypatch) as made:
        yield made


@contextlib.contextmanager
def marked(monkeypatch: pytest.MonkeyPatch, **vhost_user: bool) -> Iterator[HostUnderTest]:
    """With one relay in the file, and the wires of two more."""
    with topology((FILES, OURS, OTHER), run=False, vhost_user=vhost_user) as made:
        sysfs = Sysfs(made.instance.directory / "sys")
        monkeypatch.setenv("VIO4WD_SYS_DIR", str(sysfs.root))
        for relay, wire in made.wires.items():
            sysfs.vf("pf", relay, wire.vf_device)
            sysfs.netdev(wire.vf, device=wire.vf_device)
        with OvsdbServer(made.instance.directory) as server:
            del made.lines[OURS], made.lines[OTHER]
            made.instance.save(f"{made.text}port_control: {{ovsdb: {{socket: {server.socket}}}}}\n")
            server.bridge()
            made.instance.run()
            yield HostUnderTest(made, server)


def timed(what: str, command: Callable[[], object], probe: Callable[[], object]) -> None:
    """Prints how long after the start of a command it was so."""
    began = time.monotonic()
    command()
    wait_for(what, probe, 60.0, 0.002)
    print(f"{what}: {(time.monotonic() - began) * 1000:.0f} ms")


def more(flow: SequencedFlow) -> Callable[[], bool]:
    """Whether frames have come back since now."""
    received = flow.received
    return lambda: flow.received > received


def test_the_users_guide_with_traffic(monkeypatch: pytest.MonkeyPatch) -> None:
    with marked(monkeypatch, template_sockets=True) as host:  # the guest is there before its VF
        follow_the_guide(host)


def follow_the_guide(host: HostUnderTest) -> None:
    made, server, netdev = host.topology, host.server, host.netdev(OURS)
    made.boot(FILES)
    made.boot(OURS, "io")
    before = made.session(FILES)
    marked = ("--", "set", "interface", netdev, "external_ids:virtio_forwarder=1")
    with made.storm(OURS) as flow:
        timed("add-port to traffic", lambda: server.vsctl("add-port", BRIDGE, netdev, *marked), more(flow))
        assert host.relays() == {FILES: "file", OURS: "ovsdb"}
        timed("remove external_ids to no relay", lambda: host.unmark(OURS), lambda: host.live() == {FILES})
        assert netdev in str(server.vsctl("list-ports", BRIDGE)), "it stays on its bridge"
        timed("set external_ids to traffic", lambda: host.mark(OURS), more(flow))
        timed("del-port to no relay", lambda: server.vsctl("del-port", BRIDGE, netdev), lambda: host.live() == {FILES})
    assert made.changes().count("remove relay:2") == 2
    assert (made.session(FILES), made.ping(FILES).lost) == (before, 0), "the file's relay never noticed"


def test_a_server_that_is_killed_and_started_again_touches_no_relay(host: HostUnderTest) -> None:
    made, server = host.topology, host.server
    server.vsctl("add-port", BRIDGE, host.netdev(OURS))
    host.mark(OURS)
    host.wait_live(FILES, OURS)
    made.boot(OURS, "io")
    instance = made.instance
    before, counted = (made.session(OURS), instance.client.hello()), made.counters(OURS)
    with made.flow(OURS) as flow:
        wait_frames(flow)
        server.kill()
        wait_frames(flow)
        wait_for("status to say so", lambda: any("is waited for" in fault for fault in host.faults()), 60.0)
        wait_frames(flow)
        server.start()
        wait_for("status to be content", lambda: host.faults() == [], 60.0)
        wait_frames(flow)
        assert flow.finish().clean
    after = (made.session(OURS), instance.client.hello())
    assert (after[0], after[1].boot_id, after[1].generation) == (before[0], before[1].boot_id, before[1].generation)
    assert shrunken(counted, made.counters(OURS)) == []


def test_what_changed_while_vio4wd_was_down_is_made_up_for(host: HostUnderTest) -> None:
    made, server = host.topology, host.server
    for relay in (OURS, OTHER):
        server.vsctl("add-port", BRIDGE, host.netdev(relay))
    host.mark(OURS)
    host.wait_live(FILES, OURS)
    made.instance.terminate()
    host.unmark(OURS)
    host.mark(OTHER)
    made.instance.run(wait=False)
    host.wait_live(FILES, OTHER)
    assert host.relays() == {FILES: "file", OTHER: "ovsdb"}


def test_the_files_relay_is_refused_and_undisturbed(host: HostUnderTest) -> None:
    made, server = host.topology, host.server
    before = made.session(FILES)
    server.vsctl("add-port", BRIDGE, host.netdev(FILES))
    host.mark(FILES)
    wait_for("status to name it", lambda: any("relay 1 of ovsdb is left out" in each for each in host.left_out()), 60.0)
    assert (host.live(), made.session(FILES)) == ({FILES}, before)
