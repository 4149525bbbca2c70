"""virtio-forwarder's port control over NICs that carry traffic. The client runs in this process: to start one takes ten
seconds here."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.legacy.clients import port_control
from schema.paths import sync_file
from state.store import Store
from state.wishes import remove, wishes
from tests.kit.vio4wd import Instance
from tests.kit.waiting import wait_for
from tests.sriov.bench import Bench
from tests.sriov.machine import Qmp, driver
from tests.sriov.test_nics import active
from tests.sriov.waits import LONG_S, LOOK_S, port, text, wait_ports


def lines(door: Path, *bound: str) -> str:
    """Port control, and NICs that are bound for relays to come."""
    return f'port_control: {{zmq: {{endpoint: "ipc://{door}"}}}}\nbind_vfs: {json.dumps(bound)}\n'


@pytest.fixture
def door(instance: Instance) -> Iterator[Path]:
    """Where port control is to be. What it was asked for is forgotten in the end."""
    yield instance.directory / "z" / "port_control"
    with contextlib.closing(Store(instance.state_dir)) as store:
        for wish in wishes(store):
            remove(store, wish.owner, wish.relay)
    sync_file(instance.run_dir).touch()


@pytest.fixture
def ask(door: Path) -> Callable[..., int]:
    def asked(*options: str) -> int:
        return port_control.main([f"--zmq_ep=ipc://{door}", *options])

    return asked


def opened(door: Path, *bound: str) -> None:
    wait_for("port control", door.exists, LONG_S, LOOK_S)
    wait_for("the NICs to be bound", lambda: {driver(nic) for nic in bound} == {"vfio-pci"}, LONG_S, LOOK_S)


def test_a_bond_by_its_members_fails_over_and_goes_by_its_name(
    bench: Bench, nics: list[str], qmp: Qmp, door: Path, ask: Callable[..., int]
) -> None:
    first, first_peer, second, second_peer = nics[:4]
    instance = bench.instance
    bench.lay(1, first, first_peer)
    bench.lay(2, second, second_peer)
    instance.save(text(instance, more=lines(door, first, second), template_sockets=True))
    opened(door, first, second)
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
