"""VFs of a real PF, given by their addresses: planned, bound, attached, detached, given back; gone and come again."""

from __future__ import annotations

import json
import os

from tests.kit.instance import Instance
from tests.kit.waiting import wait_for
from tests.sriov.machine import bind, driver, set_vfs
from tests.sriov.waits import LONG_S, LOOK_S, planned, text, vio4wd, wait_condition, wait_ports


def test_bound_attached_detached_and_given_back(instance: Instance, vfs: list[str]) -> None:
    first, second = vfs[:2]
    shorthand = first.removeprefix("0000:").upper()
    spec = text(instance, f"id: 1, vf: {shorthand}", f"id: 2, vf: {second}, bind: true")
    plan = planned(instance, spec)
    print(plan)
    assert f"+ vf:{second}" in plan
    assert f"+ port:{first}" in plan
    assert f"{first} has no driver, and DPDK polls it through vfio-pci: write bind: true" in plan
    instance.save(spec)
    wait_condition(instance, 1, "Degraded", f"{first} has no driver")
    port = wait_ports(instance, second).live.ports[second]
    assert (driver(first), driver(second)) == ("", "vfio-pci")
    boot = instance.client.hello().boot_id
    print("VF:", port)
    assert port.driver == "net_e1000_igb_vf"
    assert port.mtu == 1500

    spec = text(instance, f"id: 1, vf: {first}, bind: true", f"id: 2, vf: {second}, bind: true")
    plan = planned(instance, spec)
    assert (f"+ vf:{first}" in plan, f"vf:{second}" in plan, "this will not work" in plan) == (True, False, False)
    instance.save(spec)
    wait_ports(instance, first, second)
    wait_condition(instance, 1, "Degraded", "link is down")

    instance.save(text(instance, f"id: 2, vf: {second}, bind: true"))
    wait_ports(instance, second)
    wait_for("the first to be given back", lambda: driver(first) == "", LONG_S, LOOK_S)
    assert driver(second) == "vfio-pci"
    assert instance.client.hello().boot_id == boot

    instance.save(text(instance))
    wait_ports(instance)
    wait_for("the second to be given back", lambda: driver(second) == "", LONG_S, LOOK_S)
    applies = json.loads(vio4wd(instance, "history", "--limit", "0", "--json")[0])["applies"]
    steps = [f"{c['action']} {c['resource']}" for a in reversed(applies) for c in a["plan"]["changes"]]
    assert steps.index(f"add vf:{first}") < steps.index(f"remove vf:{first}")


def test_vfs_that_vanish_with_their_pf_come_back(instance: Instance, vfs: list[str]) -> None:
    first, second = vfs[:2]
    bind(second, "vfio-pci")
    try:
        instance.save(text(instance, f"id: 1, vf: {first}, bind: true", f"id: 2, vf: {second}", "id: 3, vf: net_null0"))
        wait_ports(instance, first, second, "net_null0")
        boot = instance.client.hello().boot_id
        set_vfs(os.environ["PF"], 0)
        for relay, address in ((1, first), (2, second)):
            wait_condition(instance, relay, "Degraded", f"no PCI function {address}")
        wait_ports(instance, "net_null0")
        assert instance.client.hello().boot_id == boot
        set_vfs(os.environ["PF"], len(vfs))
        wait_condition(instance, 1, "Degraded", "link is down")
        wait_condition(instance, 2, "Degraded", f"{second} has no driver")
        bind(second, "vfio-pci")
        wait_ports(instance, first, second, "net_null0")
        assert instance.client.hello().boot_id == boot
    finally:
        if not os.path.exists(f"/sys/bus/pci/devices/{first}"):
            set_vfs(os.environ["PF"], len(vfs))


def test_a_vf_that_was_never_there_is_pending(instance: Instance) -> None:
    instance.save(text(instance, "id: 1, vf: 0000:fe:1f.6", "id: 2, vf: 0000:fe:1f.7, bind: true"))
    wait_condition(instance, 1, "Pending", "this host has no PCI function 0000:fe:1f.6")
    wait_condition(instance, 2, "Pending", "this host has no PCI function 0000:fe:1f.7")
