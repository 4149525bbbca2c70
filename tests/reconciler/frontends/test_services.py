"""The old ZeroMQ services over real sockets: in front of a made-up loop, which the tests have settle what was asked."""

from __future__ import annotations

import os
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from reconciler.frontends.services import Opening
from reconciler.legacy.clients.wire import Service
from reconciler.legacy.virtioforwarder_pb2 import (
    ConfigRequest,
    ConfigResponse,
    CoreSchedRequest,
    CoreSchedResponse,
    PortControlRequest,
    PortControlResponse,
    StatsRequest,
    StatsResponse,
)
from schema.wire.listening import Access
from tests.kit.fakes.services_harness import ServicesHarness
from tests.kit.waiting import wait_for


@pytest.fixture
def harness() -> Iterator[ServicesHarness]:
    with tempfile.TemporaryDirectory(prefix="v4-") as name:
        found = ServicesHarness(Path(name))
        yield found
        found.close()


def test_a_change_is_answered_when_the_loop_has_seen_to_it(harness: ServicesHarness) -> None:
    assert harness.add().status == PortControlResponse.OK
    assert harness.front.wanted == {3: {"vf": "0000:05:08.1"}}
    again = harness.add(conditional=False)
    assert (again.status, again.error_code) == (PortControlResponse.ERROR, 17)
    assert again.error_code_source.startswith("virtio_forwarder_add_vf2(): relay 3 has 0000:05:08.1 already")


def test_what_fails_is_taken_back_before_it_is_said(harness: ServicesHarness) -> None:
    harness.failed = {3: "the VF is missing"}
    reply = harness.add()
    assert (reply.status, reply.error_code) == (PortControlResponse.ERROR, 5)
    assert "the VF is missing" in reply.error_code_source
    assert harness.front.wanted == {}


def test_what_is_undecided_is_recorded_and_ok_before_the_client_gives_up(harness: ServicesHarness) -> None:
    harness.settling = False
    assert harness.add().status == PortControlResponse.OK
    assert harness.front.wanted == {3: {"vf": "0000:05:08.1"}}


def test_many_clients_wait_side_by_side(harness: ServicesHarness) -> None:
    harness.settling = False
    replies: list[PortControlResponse] = []

    def one(relay: int) -> None:
        address = PortControlRequest.PciAddress(domain=0, bus=6, slot=relay, function=0)
        request = PortControlRequest(op=PortControlRequest.ADD, pci_addrs=[address], virtio_id=relay)
        replies.append(harness.ask("port_control", request, PortControlResponse()))

    threads = [threading.Thread(target=one, args=(relay,)) for relay in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [reply.status for reply in replies] == [PortControlResponse.OK] * 20, "each within its 2 s"
    assert set(harness.front.wanted) == set(range(20))


@pytest.mark.parametrize(
    ("name", "reply", "status"),
    [
        ("port_control", PortControlResponse, PortControlResponse.ERROR),
        ("stats", StatsResponse, StatsResponse.EBADR),
        ("config", ConfigResponse, ConfigResponse.EBADR),
        ("core_sched", CoreSchedResponse, CoreSchedResponse.ERROR),
    ],
)
@pytest.mark.parametrize("garbage", ["garbag\u00e9".encode(), b"\x08", b"x" * 100_000], ids=["words", "half", "long"])
def test_garbage_is_answered_and_ends_nothing(
    harness: ServicesHarness, name: str, reply: Callable[[], Any], status: int, garbage: bytes
) -> None:
    assert harness.ask(name, garbage, reply()).status == status
    assert harness.ask(name, garbage, reply()).status == status
    assert harness.add().status == PortControlResponse.OK


def test_a_string_that_is_not_utf_8_is_garbage(harness: ServicesHarness, caplog: pytest.LogCaptureFixture) -> None:
    request = PortControlRequest(op=PortControlRequest.QUERY_PCI, vhost_path="/tmp/vhu?").SerializeToString()
    reply = harness.ask("port_control", request.replace(b"?", b"\xea"), PortControlResponse())
    assert reply.status == PortControlResponse.ERROR
    assert "could not be carried out" not in caplog.text


def test_a_client_that_is_gone_before_its_reply_costs_nothing(harness: ServicesHarness) -> None:
    for relay in range(10):
        with Service(f"ipc://{harness.path('port_control')}") as service:
            address = PortControlRequest.PciAddress(domain=0, bus=6, slot=relay, function=0)
            service.send(PortControlRequest(op=PortControlRequest.ADD, pci_addrs=[address], virtio_id=relay))
            wait_for("the request", lambda relay=relay: relay in harness.front.wanted, 5)  # type: ignore[misc]
    assert harness.add(40).status == PortControlResponse.OK


def test_a_request_in_several_parts_is_garbage(harness: ServicesHarness) -> None:
    context = zmq.Context()
    socket = context.socket(zmq.REQ)
    socket.setsockopt(zmq.RCVTIMEO, 5000)
    socket.connect(f"ipc://{harness.path('config')}")
    socket.send_multipart([b"a", b"b"])
    reply = ConfigResponse()
    reply.ParseFromString(socket.recv())
    context.destroy(linger=0)
    assert reply.status == ConfigResponse.EBADR


def test_without_an_engine_the_readings_are_answered_too(harness: ServicesHarness) -> None:
    found = harness.ask("stats", StatsRequest(delay=50), StatsResponse())
    assert (found.status, [r.id for r in found.relay]) == (StatsResponse.OK, list(range(64)))
    assert not any(relay.active for relay in found.relay)
    assert harness.ask("stats", StatsRequest(include_inactive=False), StatsResponse()).relay == []
    assert harness.ask("stats", StatsRequest(relay=[1] * 65), StatsResponse()).status == StatsResponse.E2BIG
    harness.front.cpus = {3: (1, 2)}
    (row,) = harness.ask("config", ConfigRequest(), ConfigResponse()).relay_cpu_map
    assert (row.relay_number, row.vf2virtio_cpu, row.virtio2vf_cpu) == (3, 1, 2)


def test_the_core_scheduler_moves_and_names_the_workers(harness: ServicesHarness) -> None:
    cores = harness.ask("core_sched", CoreSchedRequest(op=CoreSchedRequest.GET_EAL_CORES), CoreSchedResponse())
    assert (cores.status, list(cores.eal_cores)) == (CoreSchedResponse.OK, [1, 2])
    row = CoreSchedRequest.RelayCPU(relay_number=3, vf2virtio_cpu=1, virtio2vf_cpu=2)
    update = CoreSchedRequest(op=CoreSchedRequest.UPDATE, relay_cpu_map=[row])
    assert harness.ask("core_sched", update, CoreSchedResponse()).status == CoreSchedResponse.OK
    assert harness.front.cpus == {3: (1, 2)}
    row = CoreSchedRequest.RelayCPU(relay_number=9, vf2virtio_cpu=1, virtio2vf_cpu=2)
    refused = harness.ask(
        "core_sched", CoreSchedRequest(op=CoreSchedRequest.UPDATE, relay_cpu_map=[row]), CoreSchedResponse()
    )
    assert refused.error_code_source == "migrate_relay_cpus(): relay 9 is wanted by nobody"


def test_endpoints_have_their_permissions_and_come_and_go(harness: ServicesHarness) -> None:
    assert stat.S_IMODE(harness.path("stats").stat().st_mode) == 0o640
    harness.services.follow(harness.openings("port_control"))
    wait_for("the end of stats", lambda: not harness.path("stats").exists(), 5)
    assert harness.add().status == PortControlResponse.OK
    harness.services.follow(harness.openings())
    wait_for("stats again", harness.path("stats").exists, 5)


def test_an_endpoint_that_cannot_be_opened_is_named_and_tried_again(harness: ServicesHarness) -> None:
    blocked = harness.directory / "blocked"
    blocked.write_text("")
    opening = Opening("stats", f"ipc://{blocked}/stats", Access(os.getuid(), os.getgid(), 0o600))
    harness.services.follow([*harness.openings("port_control"), opening])
    wait_for("the fault", lambda: harness.services.faults, 5)
    assert harness.services.faults[0].startswith(f"stats: {blocked}/stats can't be opened")
    assert harness.add().status == PortControlResponse.OK
    blocked.unlink()
    wait_for("the endpoint", lambda: (blocked / "stats").exists(), 5)
    wait_for("the end of the fault", lambda: not harness.services.faults, 5)
