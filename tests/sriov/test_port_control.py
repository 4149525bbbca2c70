"""virtio-forwarder's port control over NICs that carry traffic: pairs of VF and socket, as OpenStack plugs them, and a
bond by its members and its name. The clients run in this process: to start one takes ten seconds here. Guests that make
the socket themselves are in tests/live: testpmd as one dies in this machine when it is connected to."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.legacy.clients import port_control
from reconciler.legacy.defaults import imported
from schema.paths import sync_file
from state.relay_requests import remove, requests
from state.store import Store
from tests.kit.instance import Instance
from tests.kit.report import report_json
from tests.kit.waiting import wait_for
from tests.sriov.bench import Bench
from tests.sriov.machine import Qmp, driver
from tests.sriov.test_nics import active
from tests.sriov.waits import GOING, LONG_S, LOOK_S, port, text, wait_condition, wait_ports


def lines(endpoint: Path, *bound: str) -> str:
    """Port control, and NICs that are bound for relays to come."""
    return f'port_control: {{zmq: {{endpoint: "ipc://{endpoint}"}}}}\nbind_vfs: {json.dumps(bound)}\n'


@pytest.fixture
def endpoint(instance: Instance) -> Iterator[Path]:
    """Where port control is to be. What it was asked for is forgotten in the end."""
    yield instance.directory / "z" / "port_control"
    with contextlib.closing(Store(instance.state_dir)) as store:
        for request in requests(store):
            remove(store, request.owner, request.relay)
    sync_file(instance.run_dir).touch()


@pytest.fixture
def ask(endpoint: Path) -> Callable[..., int]:
    def asked(*options: str) -> int:
        return port_control.main([f"--zmq_ep=ipc://{endpoint}", *options])

    return asked


def opened(endpoint: Path, *bound: str) -> None:
    wait_for("port control", endpoint.exists, LONG_S, LOOK_S)
    wait_for("the NICs to be bound", lambda: {driver(nic) for nic in bound} == {"vfio-pci"}, LONG_S, LOOK_S)


def watch_pid(instance: Instance) -> int:
    return int(report_json(instance.run_dir).get("pid", 0))


DYNAMIC = {"dynamic_sockets": True}


def test_the_plug_with_traffic_through_every_death(
    bench: Bench, nics: list[str], endpoint: Path, ask: Callable[..., int]
) -> None:
    vf, peer = nics[:2]
    instance, socket = bench.instance, bench.instance.socket(0)
    bench.lay(0, vf, peer)
    instance.save(text(instance, more=lines(endpoint, vf), **DYNAMIC))
    opened(endpoint, vf)
    plug = f"--pci-addr={vf}", f"--vhost-path={socket}"
    assert ask("add_sock", *plug) == 0
    wait_ports(instance, vf)
    bench.boot(0)
    bench.pass_frames(0)
    assert ask("add_sock", *plug) == 1, "it is there"
    instance.save(text(instance, "id: 3, vf: net_null3", more=lines(endpoint, vf), **DYNAMIC))
    wait_ports(instance, vf, "net_null3")
    bench.pass_frames(0)
    killed = watch_pid(instance)
    os.kill(killed, signal.SIGKILL)
    bench.pass_frames(0)
    wait_for("another watch", lambda: watch_pid(instance) != killed, LONG_S, LOOK_S)
    os.kill(instance.engine_pid, signal.SIGKILL)
    guest = bench.pairs[0].guest
    assert guest is not None
    guest.kill()
    wait_condition(instance, 0, "Pending", "no guest is connected")
    bench.boot(0)
    bench.pass_frames(0)
    assert ask("remove_sock", *plug) == 0
    wait_ports(instance, "net_null3")
    wait_for("the socket to go", lambda: str(socket) not in instance.client.observe().state.sockets, LONG_S, LOOK_S)
    assert ask("remove_sock", *plug) == 1


def test_a_bond_by_its_members_fails_over_and_goes_by_its_name(
    bench: Bench, nics: list[str], qmp: Qmp, endpoint: Path, ask: Callable[..., int]
) -> None:
    first, first_peer, second, second_peer = nics[:4]
    instance = bench.instance
    bench.lay(1, first, first_peer)
    bench.lay(2, second, second_peer)
    instance.save(text(instance, more=lines(endpoint, first, second), template_sockets=True))
    opened(endpoint, first, second)
    wait_for("the template's sockets", instance.socket(63).is_socket, LONG_S, LOOK_S)
    members = [f"--pci-addr={first}", f"--pci-addr={second}"]
    name = ["--name=net_bonding0", "--virtio-id=1"]
    assert ask("add", *members, *name, "--mode=1") == 0
    wait_ports(instance, "net_bonding0")
    bench.boot(1)
    bench.pass_frames(1)
    with qmp.cable_pulled(0):
        wait_for("the second to take over", lambda: active(instance) == [second], LONG_S, LOOK_S)
        bench.pass_frames(2)
    print("the bond:", port(instance, "net_bonding0"))
    assert ask("remove", *name) == 0
    wait_ports(instance)
    assert instance.socket(1).is_socket(), "the template's sockets stay"


def test_an_imported_configuration_binds_its_vfs_and_has_its_sockets_before_any_is_added(
    bench: Bench, nics: list[str], vfs: list[str], endpoint: Path, ask: Callable[..., int]
) -> None:
    """The guest is there first. VFs are bound by the name of their PF and a count, and need no relay for that."""
    nic, peer = nics[:2]
    instance, pf = bench.instance, os.environ["PF"]
    bench.lay(3, nic, peer)
    configuration = {
        "CPU_MASK": "1",
        "SOCKET_OWNER": "",
        "SOCKET_GROUP": "",
        "SOCKET_DIR": str(instance.sockets),
        "SOCKET_FNAME_PATTERN": "vm%u.sock",
        "BIND_VFIO_PCI": f"{nic},{pf}:2",
        "ZMQ_PORT_CONTROL_EP": f"ipc://{endpoint}",
    }
    said = "".join(f"VIRTIOFWD_{name}={value}\n" for name, value in configuration.items())
    instance.save(imported(said, "virtioforwarder").text + GOING)
    opened(endpoint, nic, *vfs[:2])
    wait_for("the template's sockets", instance.socket(63).is_socket, LONG_S, LOOK_S)
    bench.boot(3, well=False)
    assert ask("add", f"--pci-addr={nic}", "--virtio-id=3") == 0
    wait_condition(instance, 3, "Ready", "")  # a flow with a window never goes on when its first frames meet no link
    bench.pass_frames(3)
    assert ask("remove", f"--pci-addr={nic}", "--virtio-id=3") == 0
    wait_ports(instance)
    assert instance.socket(3).is_socket(), "the template's stay"
    assert driver(nic) == "vfio-pci", "it is bound whether a relay uses it or not"
