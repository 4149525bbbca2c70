"""Marks in Open vSwitch's database on the interface of a real VF, which goes when the VF is bound to vfio-pci."""

from __future__ import annotations

import pytest

from tests.kit.instance import Instance
from tests.kit.system.ovsdb_server import BRIDGE, OvsdbServer
from tests.kit.waiting import wait_for
from tests.sriov.machine import bind, driver, interface, module
from tests.sriov.waits import LONG_S, LOOK_S, text, wait_condition, wait_ports

pytestmark = pytest.mark.needs("ovs")

INDEX = 1
"""Of the VF, which is the relay's id."""


def test_a_marked_vf_is_relayed_after_its_interface_has_gone(instance: Instance, vfs: list[str]) -> None:
    vf = vfs[INDEX]
    with OvsdbServer(instance.directory) as server, module("igbvf"):
        wait_for("the VF's interface", lambda: driver(vf) == "igbvf", LONG_S, LOOK_S)
        netdev = interface(vf)
        server.bridge()
        server.vsctl("add-port", BRIDGE, netdev, "--", "set", "interface", netdev, "external_ids:virtio_forwarder=1")
        instance.save(f"{text(instance)}port_control: {{ovsdb: {{socket: {server.socket}}}}}\n")
        wait_condition(instance, INDEX, "Degraded", f"{vf} is bound to the driver igbvf")
        bind(vf, "vfio-pci")
        wait_ports(instance, vf)
        wait_condition(instance, INDEX, "Degraded", "link is down")
        print(f"{netdev} stood for VF {INDEX}, {vf}; it is gone, and the relay is there")
        server.vsctl("remove", "interface", netdev, "external_ids", "virtio_forwarder")
        wait_ports(instance)
        server.vsctl("set", "interface", netdev, "external_ids:virtio_forwarder=1")
        wait_ports(instance, vf)
        server.vsctl("del-port", BRIDGE, netdev)
        wait_ports(instance)
