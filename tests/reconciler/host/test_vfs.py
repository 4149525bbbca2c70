"""VFs on the host: what is said of each that can't be polled, and that binding is undone as it was done."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.api.client import Observation
from reconciler.desired.from_spec import desired
from reconciler.host.refusal import HostRefused
from reconciler.host.vfio import HostVfs
from reconciler.observe.engines import HostSnapshot, refusals
from reconciler.planning.host_plan import plan_host
from reconciler.planning.plan import plan
from schema.loading.loader import parse
from schema.model import Action, Kind, Pin, Port, Relay, Resource, Socket, State, Verb, Vf, Worker
from state.host_changes import bindings
from state.store import Store
from tests.kit.fakes.fake_pci import BRIDGE, FakePci, not_permitted
from tests.kit.fakes.table_host import TableHost

VF, OTHER = "0000:05:08.1", "0000:05:08.2"


@pytest.fixture
def pci(tmp_path: Path) -> FakePci:
    return FakePci(tmp_path / "root")


@pytest.fixture
def vfs(tmp_path: Path, pci: FakePci) -> Iterator[HostVfs]:
    made = HostVfs(tmp_path / "state", pci)
    yield made
    made.close()


def complaint(vfs: HostVfs, address: str = VF) -> tuple[str, str]:
    with pytest.raises(HostRefused) as caught:
        vfs.require_pollable(address)
    return caught.value.refusal.code, str(caught.value)


def test_a_vf_that_is_not_there_may_come(vfs: HostVfs) -> None:
    code, message = complaint(vfs)
    assert code == "no-device"
    assert f"this host has no PCI function {VF}; it is used as soon as it appears" in message


@pytest.mark.parametrize("driver", ["vfio-pci", "igb_uio", "uio_pci_generic", "mlx5_core", "mlx4_core"])
def test_what_dpdk_can_use_is_fine(vfs: HostVfs, pci: FakePci, driver: str) -> None:
    pci.add(VF, driver, group="10")
    vfs.require_pollable(VF)


def test_a_kernel_driver_is_named_with_what_to_do(vfs: HostVfs, pci: FakePci) -> None:
    pci.add(VF, "igbvf", group="10")
    pci.add(OTHER, "", group="11")
    assert complaint(vfs) == (
        "failed",
        f"{VF} is bound to the driver igbvf, and DPDK polls it through vfio-pci: write bind: true in its relay, or "
        f"run: driverctl set-override {VF} vfio-pci",
    )
    assert f"{OTHER} has no driver" in complaint(vfs, OTHER)[1]


def test_the_others_of_an_iommu_group_are_named(vfs: HostVfs, pci: FakePci) -> None:
    pci.add(VF, "vfio-pci", group="10")
    pci.add("0000:00:1c.0", "pcieport", group="10", class_=BRIDGE)
    pci.add("0000:05:08.3", "vfio-pci", group="10")
    pci.add("0000:05:08.4", "", group="10")
    vfs.require_pollable(VF)
    pci.add(OTHER, "igbvf", group="10")
    message = complaint(vfs)[1]
    assert f"{VF} shares IOMMU group 10 with {OTHER} (driver igbvf)" in message
    assert "0000:00:1c.0" not in message


def test_no_iommu_and_no_nodes_are_told_apart(vfs: HostVfs, pci: FakePci) -> None:
    pci.add(VF, "vfio-pci")
    assert "is in no IOMMU group" in complaint(vfs)[1]
    pci.add(OTHER, "vfio-pci", group="10")
    (pci.root / "dev/vfio/10").unlink()
    assert "dev/vfio/10, which is missing or not open to this user" in complaint(vfs, OTHER)[1]
    (pci.root / "dev/vfio/vfio").unlink()
    assert "which are missing" in complaint(vfs, OTHER)[1]


def test_bound_and_given_back_to_the_driver_that_it_had(vfs: HostVfs, pci: FakePci) -> None:
    pci.add(VF, "igbvf", group="10")
    vfs.bind(VF)
    vfs.require_pollable(VF)
    assert vfs.bound() == {VF: Vf(VF, "vfio-pci")}
    vfs.give_back(VF)
    facts = pci.facts(VF)
    assert facts is not None
    assert (facts.driver, facts.override, vfs.bound()) == ("igbvf", "", {})


def test_one_without_a_driver_has_none_again_and_an_override_stays(vfs: HostVfs, pci: FakePci) -> None:
    pci.add(VF, "", group="10")
    pci.add(OTHER, "igbvf", group="11")
    pci.set_override(OTHER, "igbvf")
    for address in (VF, OTHER):
        vfs.bind(address)
        vfs.give_back(address)
    assert pci.driver(VF) == ""
    facts = pci.facts(OTHER)
    assert facts is not None
    assert (facts.driver, facts.override) == ("igbvf", "igbvf")


def test_what_it_was_is_remembered_across_restarts(tmp_path: Path, pci: FakePci, vfs: HostVfs) -> None:
    pci.add(VF, "igbvf", group="10")
    vfs.bind(VF)
    vfs.close()
    again = HostVfs(tmp_path / "state", pci)
    again.bind(VF)  # a second time, bound already: the first driver is what counts
    again.give_back(VF)
    again.close()
    assert pci.driver(VF) == "igbvf"


def test_one_that_was_bound_by_others_stays_bound(vfs: HostVfs, pci: FakePci) -> None:
    pci.add(VF, "vfio-pci", group="10")
    vfs.bind(VF)
    assert vfs.bound() == {VF: Vf(VF)}
    vfs.give_back(VF)
    assert (pci.driver(VF), vfs.bound()) == ("vfio-pci", {})


def test_one_that_somebody_uses_is_not_given_back(vfs: HostVfs, pci: FakePci) -> None:
    pci.add(VF, "igbvf", group="10")
    vfs.bind(VF)
    pci.in_use.add("10")
    with pytest.raises(HostRefused, match="is in use through vfio-pci; it is given back when that ends"):
        vfs.give_back(VF)
    pci.in_use.clear()
    vfs.give_back(VF)
    assert pci.driver(VF) == "igbvf"


def test_one_that_others_have_taken_since_is_left_to_them(vfs: HostVfs, pci: FakePci) -> None:
    pci.add(VF, "igbvf", group="10")
    vfs.bind(VF)
    pci.unbind(VF)
    pci.set_override(VF, "pci-stub")
    pci.probe(VF)
    assert vfs.bound() == {VF: Vf(VF, "pci-stub")}
    vfs.give_back(VF)
    assert (pci.driver(VF), vfs.bound()) == ("pci-stub", {})


def test_a_bind_that_fails_leaves_everything_as_it_was(tmp_path: Path, vfs: HostVfs, pci: FakePci) -> None:
    pci.add(VF, "igbvf", group="10")
    pci.refuses.add("vfio-pci")
    with pytest.raises(HostRefused, match="vfio-pci did not take it"):
        vfs.bind(VF)
    facts = pci.facts(VF)
    assert facts is not None
    assert (facts.driver, facts.override) == ("igbvf", "")
    assert bindings(Store(tmp_path / "state")) == {}


class Killed(BaseException):
    """Stands for the end of the process: nothing may handle it."""


STEPS = ["set_override", "unbind", "probe"]


def killed_after(step: str, pci: FakePci, monkeypatch: pytest.MonkeyPatch, do: Callable[[str], None]) -> None:
    whole = getattr(pci, step)

    def then_die(*arguments: str) -> None:
        whole(*arguments)
        raise Killed

    monkeypatch.setattr(pci, step, then_die)
    with pytest.raises(Killed):
        do(VF)
    monkeypatch.undo()


@pytest.mark.parametrize("driver", ["igbvf", ""])
@pytest.mark.parametrize("step", STEPS)
def test_killed_while_it_binds_the_vf_can_still_be_given_back(
    vfs: HostVfs, pci: FakePci, monkeypatch: pytest.MonkeyPatch, step: str, driver: str
) -> None:
    pci.add(VF, driver, group="10")
    killed_after(step, pci, monkeypatch, vfs.bind)
    vfs.give_back(VF)
    facts = pci.facts(VF)
    assert facts is not None
    assert (facts.driver, facts.override, vfs.bound()) == (driver, "", {})


@pytest.mark.parametrize("step", STEPS)
def test_killed_while_it_gives_back_it_is_given_back_the_next_time(
    vfs: HostVfs, pci: FakePci, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    pci.add(VF, "igbvf", group="10")
    vfs.bind(VF)
    killed_after(step, pci, monkeypatch, vfs.give_back)
    vfs.give_back(VF)
    facts = pci.facts(VF)
    assert facts is not None
    assert (facts.driver, facts.override, vfs.bound()) == ("igbvf", "", {})


def test_killed_while_it_binds_and_refused_the_next_time_it_is_as_before_both(
    vfs: HostVfs, pci: FakePci, monkeypatch: pytest.MonkeyPatch
) -> None:
    pci.add(VF, "igbvf", group="10")
    killed_after("unbind", pci, monkeypatch, vfs.bind)
    pci.refuses.add("vfio-pci")
    with pytest.raises(HostRefused, match="did not take it"):
        vfs.bind(VF)
    facts = pci.facts(VF)
    assert facts is not None
    assert (facts.driver, facts.override, vfs.bound()) == ("igbvf", "", {})


def test_who_may_not_write_is_told_so(vfs: HostVfs, pci: FakePci, monkeypatch: pytest.MonkeyPatch) -> None:
    pci.add(VF, "igbvf", group="10")

    def refuse(address: str, _driver: str) -> None:
        raise not_permitted(pci.device(address) / "driver_override")

    monkeypatch.setattr(pci, "set_override", refuse)
    with pytest.raises(HostRefused, match="is not allowed; vio4wd has to run as root"):
        vfs.bind(VF)


def test_a_driver_that_dpdk_works_beside_is_not_taken_away(vfs: HostVfs, pci: FakePci) -> None:
    pci.add(VF, "mlx5_core", group="10")
    with pytest.raises(HostRefused, match="must stay with it; remove bind: true"):
        vfs.bind(VF)


TEXT = f"""apiVersion: vio4wd/v1
engine: {{main_cpu: 0, worker_cpus: [1]}}
relays: [{{id: 1, vf: {VF}, bind: true}}, {{id: 2, vf: {OTHER}}}, {{id: 3, vf: net_null0}}]
"""


def test_a_plan_says_what_stands_in_its_way_before_it_runs(vfs: HostVfs, pci: FakePci) -> None:
    target = desired(parse(TEXT, "x"), TableHost(usable=frozenset({0, 1})))
    pci.add(VF, "igbvf", group="10")
    pci.add(OTHER, "igbvf", group="11")
    actions = plan(target, State(engine=target.engine)).actions
    holders = {VF: 1, OTHER: 2}
    (obstacle,) = refusals(holders, actions, vfs)
    assert (obstacle.resource, obstacle.problem.partition(" is ")[0]) == ("relay:2", OTHER)
    pci.remove(VF)
    assert [obstacle.resource for obstacle in refusals(holders, actions, vfs)] == ["relay:1", "relay:2"]
    only = [Action(Verb.ADD, Kind.VF, VF, None, None, Vf(VF))]
    assert [obstacle.resource for obstacle in refusals(holders, only, vfs)] == [f"vf:{VF}"]


def test_what_others_took_is_bound_again_and_what_is_gone_is_added_anew(vfs: HostVfs, pci: FakePci) -> None:
    target = desired(parse(TEXT, "x"), TableHost(usable=frozenset({0, 1})))
    pci.add(VF, "igbvf", group="10")
    vfs.bind(VF)
    pci.unbind(VF)

    def todo() -> list[str]:
        pins = {id_: Pin(id_, 1, 1) for id_ in target.relays}
        live = dataclasses.replace(target, vfs=vfs.bound(), pins=pins)
        return [f"{action.verb} {action.resource}" for action in plan(target, live).actions]

    assert todo() == [f"replace vf:{VF}"]
    vfs.bind(VF)
    assert todo() == []
    pci.remove(VF)
    assert todo() == [f"add vf:{VF}"]


def test_with_several_engines_a_vf_is_given_back_once_by_the_one_that_polled_it() -> None:
    wanted = desired(parse(TEXT, "x"), TableHost(usable=frozenset({0, 1})))
    first, second = Relay(1, VF, "/tmp/1"), Relay(3, "net_null0", "/tmp/3")
    bound: list[Resource] = [Vf(VF), Worker(1)]
    states = [
        State.of([*bound, Port("net_null0"), Socket("/tmp/3"), second, Pin(3, 1, 1)]),
        State.of([*bound, Port(VF), Socket("/tmp/1"), first, Pin(1, 1, 1)]),
    ]
    seen = {shard: Observation(f"boot{shard}", 0, state) for shard, state in enumerate(states)}
    nothing = State(engine=wanted.engine, workers=wanted.workers)
    planned_actions = plan_host(nothing, HostSnapshot(seen)).planned_actions
    last = [(planned.shard, f"{planned.action.verb} {planned.action.resource}") for planned in planned_actions][-1]
    assert last == (1, f"remove vf:{VF}")
    assert sum(planned.action.kind is Kind.VF for planned in planned_actions) == 1
