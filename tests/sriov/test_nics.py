"""PCI NICs behind an IOMMU that carry traffic: forwarded, pulled out under the engine, taken by others, given back."""

from __future__ import annotations

from tests.kit.instance import Instance
from tests.kit.topology import wait_frames
from tests.kit.waiting import wait_for
from tests.sriov.bench import Bench, bound
from tests.sriov.machine import DEVICES, Qmp, bind, driver
from tests.sriov.waits import LONG_S, LOOK_S, condition, port, text, wait_buffers, wait_condition, wait_ports


def test_traffic_then_given_back_to_the_kernel(bench: Bench, nics: list[str]) -> None:
    vf, peer = nics[:2]
    assert driver(vf) == "e1000e"
    bench.lay(1, vf, peer)
    bench.instance.save(text(bench.instance, bound(1, vf)))
    wait_ports(bench.instance, vf)
    assert driver(vf) == "vfio-pci"
    bench.boot(1, "icmpecho")
    wait_for("an answer", lambda: bench.ping(1, 2) > 0, LONG_S, LOOK_S)
    answered = bench.ping(1, 50)
    print(f"{answered} of 50 pings answered; {port(bench.instance, vf)}")
    assert answered >= 45
    bench.instance.save(text(bench.instance))
    wait_ports(bench.instance)
    wait_for("the NIC to be given back", lambda: driver(vf) == "e1000e", LONG_S, LOOK_S)
    wait_for("its interface", (DEVICES / vf / "net").exists, LONG_S, LOOK_S)


def test_one_pulled_out_costs_the_other_nothing_and_comes_back(bench: Bench, nics: list[str], qmp: Qmp) -> None:
    first, first_peer, second, second_peer = nics[:4]
    bench.lay(1, first, first_peer)
    bench.lay(2, second, second_peer)
    bench.instance.save(text(bench.instance, bound(1, first), bound(2, second)))
    wait_ports(bench.instance, first, second)
    boot = bench.instance.client.hello().boot_id
    bench.boot(1)
    bench.boot(2)
    with bench.flow(2) as neighbour:
        wait_frames(neighbour)
        with qmp.unplugged(0, first):
            wait_condition(bench.instance, 1, "Degraded", f"no PCI function {first}")
            print("relay 1:", *condition(bench.instance, 1))
            wait_frames(neighbour)
        wait_condition(bench.instance, 1, "Ready", "")
        wait_frames(neighbour)
        report = neighbour.finish()
    print("the neighbour:", report)
    assert report.clean, report
    assert driver(first) == "vfio-pci"
    bench.pass_frames(1)
    assert bench.instance.client.hello().boot_id == boot


def test_one_that_is_taken_for_passthrough_is_let_go_at_once(bench: Bench, nics: list[str]) -> None:
    vf, peer = nics[:2]
    bench.lay(1, vf, peer)
    bind(vf, "vfio-pci")
    bench.instance.save(text(bench.instance, f"id: 1, vf: {vf}"))
    wait_ports(bench.instance, vf)
    bench.boot(1)
    boot = bench.instance.client.hello().boot_id
    bind(vf, "e1000e")  # returns only when the engine has closed it
    assert driver(vf) == "e1000e"
    wait_condition(bench.instance, 1, "Degraded", f"{vf} is bound to the driver e1000e")
    print("relay 1:", *condition(bench.instance, 1))
    bind(vf, "vfio-pci")
    wait_condition(bench.instance, 1, "Ready", "")
    bench.pass_frames(1)
    assert bench.instance.client.hello().boot_id == boot


def test_a_bond_fails_over_when_a_cable_is_pulled(bench: Bench, nics: list[str], qmp: Qmp) -> None:
    """Both members' wires lead to the same namespace; the guest's frames come out where the active member is. The
    bond's buffers follow the guest's memory as a VF's do."""
    first, first_peer, second, second_peer = nics[:4]
    bench.lay(1, first, first_peer)
    bench.lay(2, second, second_peer)
    bond = f'id: 1, bind: true, bond: {{name: net_bonding0, mode: active-backup, members: ["{first}", "{second}"]}}'
    bench.instance.save(text(bench.instance, bond))
    wait_ports(bench.instance, "net_bonding0")
    for node in (1, 0):
        bench.boot(1, cpu=node)
        wait_buffers(bench.instance, "net_bonding0", node)
        bench.pass_frames(1)
        bench.shut_down(1)
    bench.boot(1)
    with qmp.cable_pulled(0):
        wait_for("the second to take over", lambda: active(bench.instance) == [second], LONG_S, LOOK_S)
        bench.pass_frames(2)
    with qmp.cable_pulled(2):
        wait_for("the first to take over again", lambda: active(bench.instance) == [first], LONG_S, LOOK_S)
        bench.pass_frames(1)
    bench.instance.save(text(bench.instance))
    wait_ports(bench.instance)
    wait_for("both to be given back", lambda: [driver(nic) for nic in nics[:4:2]] == ["e1000e"] * 2, LONG_S, LOOK_S)


def active(instance: Instance) -> list[str]:
    return [member.name for member in port(instance, "net_bonding0").members if member.active]
