"""Byte for byte what virtio-forwarder's own clients send, as it stands on the wire, and what its daemon was seen to
answer: the services on real sockets, in front of the real state of a host with sockets of the template, or dynamic
ones."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import schema
from engine.api.client import Observation
from engine.api.live import Live
from reconciler.frontends.backend import PortControlBackend
from reconciler.frontends.port_control import OWNER
from reconciler.frontends.replies import EngineCounts, stats_reply
from reconciler.legacy.virtioforwarder_pb2 import (
    CoreSchedResponse,
    PortControlResponse,
    RelayState,
    StatsRequest,
    StatsResponse,
)
from reconciler.observe.engines import HostSnapshot
from schema import Spec
from schema.model import Engine, Pin, Port, Relay, Resource, Socket, State, Worker
from schema.system.typed_json import decoded
from state import relay_requests
from state.store import Store
from tests.kit.fakes.services_harness import ServicesHarness

TEMPLATE, DYNAMIC = "template_sockets: true", "dynamic_sockets: true"
VF = "0000:5e:0a.3"
PCI, OTHER = b"\x12\x08\x08\x00\x10\x5e\x18\x0a\x20\x03", b"\x12\x08\x08\x00\x10\x5e\x18\x0a\x20\x04"
BOND = b"\x2a\x0cnet_bonding3\x30\x01"
ID_3, ALWAYS, CONDITIONAL = b"\x18\x03", b"\x20\x00", b"\x20\x01"
ADD, REMOVE, ADD_SOCK, REMOVE_SOCK, QUERY = (b"\x08" + bytes([op]) for op in range(5))
NODE_ANY = 4294967295


def spec(kind: str) -> Spec:
    keys = f"vhost_user: {{directory: /t, name: '%u', {kind}}}\nengine: {{worker_cpus: [1, 2]}}\n"
    return schema.parse(f"apiVersion: vio4wd/v1\n{keys}", "spec")


class OldHost(ServicesHarness):
    """A host whose port control has made these requests."""

    def __init__(self, directory: Path, kind: str) -> None:
        self.state_dir = directory / "state"
        self.state_dir.mkdir()
        self.kind = kind
        super().__init__(directory, lambda: PortControlBackend(self.state_dir, lambda: spec(kind)))

    def request(self, relay: int, **wanted: object) -> None:
        store = Store(self.state_dir)
        relay_requests.put(store, OWNER, relay, wanted)
        store.close()

    def requested(self) -> set[int]:
        store = Store(self.state_dir)
        found = {request.relay for request in relay_requests.requests(store)}
        store.close()
        return found

    def port_control(self, *sent: bytes) -> PortControlResponse:
        reply: PortControlResponse = self.ask("port_control", b"".join(sent), PortControlResponse())
        return reply


@pytest.fixture(params=[TEMPLATE, DYNAMIC])
def host(request: pytest.FixtureRequest) -> Iterator[OldHost]:
    with tempfile.TemporaryDirectory(prefix="v4-") as name:
        found = OldHost(Path(name), request.param)
        yield found
        found.close()


def path(name: str) -> bytes:
    return b"\x3a" + bytes([len(name)]) + name.encode()


def test_query_pci_has_capitals_and_says_nothing_of_an_idle_socket_of_the_template(host: OldHost) -> None:
    host.request(3, vf=VF, **({"socket": "/t/3"} if host.kind == DYNAMIC else {}))
    told = host.port_control(QUERY, ALWAYS, path("/t/3"))
    assert (told.status, told.query_string) == (PortControlResponse.OK, "0000:5E:0A.3")
    idle = host.port_control(QUERY, ALWAYS, path("/t/4"))
    status = PortControlResponse.OK if host.kind == TEMPLATE else PortControlResponse.ERROR
    assert (idle.status, idle.query_string) == (status, "")
    assert host.port_control(QUERY, ALWAYS, path("/t/64")).error_code == 2


def test_remove_of_nothing_is_ok_if_it_is_conditional(host: OldHost) -> None:
    for empty in ((REMOVE, ID_3, CONDITIONAL), (REMOVE, ID_3), (REMOVE, PCI, ID_3, CONDITIONAL)):
        assert host.port_control(*empty).status == PortControlResponse.OK
    for refused in ((REMOVE, ID_3, ALWAYS), (REMOVE, PCI, ID_3, ALWAYS)):
        assert host.port_control(*refused).status == PortControlResponse.ERROR


def test_remove_sock_of_nothing_is_an_error_conditional_or_not(host: OldHost) -> None:
    for how in (ALWAYS, CONDITIONAL, b""):
        assert host.port_control(REMOVE_SOCK, PCI, how, path("/t/3")).status == PortControlResponse.ERROR
        assert host.port_control(REMOVE_SOCK, how, path("/t/3")).status == PortControlResponse.ERROR


def test_a_bond_or_a_socket_that_is_there_is_an_error_conditional_or_not(host: OldHost) -> None:
    dynamic = host.kind == DYNAMIC
    add = (ADD_SOCK, PCI, path("/t/3")) if dynamic else (ADD, PCI, OTHER, ID_3, BOND)
    assert host.port_control(*add, ALWAYS).status == PortControlResponse.OK
    for how in (ALWAYS, CONDITIONAL, b""):
        assert host.port_control(*add, how).status == PortControlResponse.ERROR
    assert host.requested() == ({0} if dynamic else {3})


def test_a_vf_that_is_there_may_be_added_conditionally(host: OldHost) -> None:
    for how, status in ((ALWAYS, 1), (CONDITIONAL, 1), (b"", 1), (ALWAYS, 0)):
        assert host.port_control(ADD, PCI, ID_3, how).status == status


def test_remove_sock_by_its_path_takes_the_vf_out(host: OldHost) -> None:
    for sent in ((path("/t/3"),), (PCI, path("/t/3")), (PCI,)):
        host.request(3, vf=VF, **({"socket": "/t/3"} if host.kind == DYNAMIC else {}))
        assert host.port_control(REMOVE_SOCK, OTHER, ALWAYS, path("/t/3")).error_code == 22
        assert host.port_control(REMOVE_SOCK, *sent[:-1], ALWAYS, sent[-1]).status == PortControlResponse.OK
        assert host.requested() == set()
    query = host.port_control(QUERY, ALWAYS, path("/t/3"))
    assert query.status == (PortControlResponse.OK if host.kind == TEMPLATE else PortControlResponse.ERROR)


def test_the_core_scheduler_refuses_relays_that_are_not_there_and_cpus_without_a_worker(host: OldHost) -> None:
    host.request(3, vf=VF)
    for relay, first, second, status in ((3, 1, 2, 1), (4, 1, 2, 0), (63, 1, 2, 0), (3, 1, 7, 0), (3, 0, 1, 0)):
        update = b"\x08\x00\x12\x06\x08" + bytes([relay]) + b"\x10" + bytes([first]) + b"\x18" + bytes([second])
        reply = host.ask("core_sched", update, CoreSchedResponse())
        assert (reply.status, bool(reply.error_code_source)) == (status, not status)


def test_inactive_relays_are_listed_all_and_on_no_node(host: OldHost) -> None:
    for request in (b"\x10\x01\x18\x00", b"\x10\x01\x18\x14", b""):
        reply = host.ask("stats", request, StatsResponse())
        assert [(relay.id, relay.socket_id) for relay in reply.relay] == [(id_, NODE_ANY) for id_ in range(64)]
    assert not host.ask("stats", b"\x10\x00", StatsResponse()).relay


COUNTED = {f"{way}_{unit}": 7 for way in ("rx", "tx") for unit in ("packets", "bytes")} | {
    f"{reason}_{unit}": 1
    for reason in ("guest_full", "guest_absent", "vf_full", "vf_absent", "vf_unfit")
    for unit in ("packets", "bytes")
}


def seen(vf: bool, guest: bool) -> EngineCounts:
    """Relay 3, its VF on node 1."""
    parts: list[Resource] = [Engine(), Worker(1), Socket("/t/3"), Relay(3, VF, "/t/3"), Pin(3, 1, 1), Port(VF)]
    live = {"ports": {VF: {"present": vf, "numa": 1}}, "sockets": {"/t/3": {"guest": guest}}}
    counters = {"tsc_hz": 1, "now_tsc": 1, "relays": {"3": {"vf_to_vm": COUNTED, "vm_to_vf": COUNTED}}}
    return EngineCounts(1.0, HostSnapshot({0: Observation("boot", 1, State.of(parts), decoded(Live, live))}), counters)


@pytest.mark.parametrize(
    ("vf", "guest", "state", "node"),
    [
        (True, True, "DPDK_READY", 1),
        (True, False, "DPDK_ADDED", NODE_ANY),
        (False, True, "DPDK_UNINIT", NODE_ANY),
        (False, False, "DPDK_UNINIT", NODE_ANY),
    ],
)
def test_a_vf_without_its_guest_is_added_and_active(vf: bool, guest: bool, state: str, node: int) -> None:
    (relay,) = stats_reply(StatsRequest.FromString(b"\x0a\x01\x03\x18\x00"), None, seen(vf, guest), ()).relay
    assert (relay.vf_to_vm.internal_state, relay.vf_to_vm.active, relay.active) == (state, vf, vf and guest)
    assert relay.vm_to_vf.internal_state == ("VIRTIO_READY" if guest else "VIRTIO_UNINIT")
    assert relay.socket_id == node
    assert relay.vf.pci_addr_str == ("0000:5E:0A.3" if vf else "")
    assert _rates(relay) == {0.0}
    assert relay.vf_to_vm.HasField("pkts_rx_from_vf") == vf


def _rates(relay: RelayState) -> set[float]:
    ways = ((relay.vf_to_vm, ("rx_from_vf", "tx_to_vm")), (relay.vm_to_vf, ("rx_from_vm", "tx_to_vf")))
    return {getattr(way, f"{unit}_rate_{name}") for way, names in ways for name in names for unit in ("pkt", "byte")}
