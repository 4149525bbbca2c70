"""What a guard holds back, and what it allows: a table, and what becomes of those around it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import pytest

from engine.api.client import Observation
from engine.api.live import Live, LiveSocket
from reconciler.observe.engines import HostSnapshot
from reconciler.policy.removal_guards import Guarded, Policy, carried_over, guard
from schema.model import Engine, Pin, Port, Relay, Resource, Socket, State, Worker
from state.applied import LastTarget


def state(*relays: Relay, sockets: Iterable[str] = (), main_cpu: int = 0, cpus: Iterable[int] = (1,)) -> State:
    """With what these relays need, polled on CPU 1."""
    workers = [Worker(cpu) for cpu in cpus]
    rest: list[Resource] = [Engine(main_cpu=main_cpu), *workers, *(Pin(r.id, 1, 1) for r in relays)]
    paths = {relay.socket for relay in relays} | set(sockets)
    return State.of([*rest, *relays, *(Port(r.port) for r in relays), *(Socket(path) for path in sorted(paths))])


def relay(id_: int, port: int | None = None, socket: int | None = None) -> Relay:
    return Relay(id_, f"net_null{id_ if port is None else port}", f"/tmp/{id_ if socket is None else socket}")


def of(*ids: int) -> State:
    return state(*map(relay, ids))


def snapshot(live: State, *guests: int) -> HostSnapshot:
    sockets = {f"/tmp/{id_}": LiveSocket(guest=True) for id_ in guests}
    return HostSnapshot({0: Observation("boot", 1, live, Live(sockets=sockets))})


@dataclass
class Case:
    live: State
    wanted: State
    guests: tuple[int, ...] = ()
    policy: Policy = field(default_factory=Policy)
    protected: tuple[int, ...] = ()
    """By what was applied last."""
    held_back: tuple[str, ...] = ()


CASES = {
    "nothing removed": Case(of(1, 2), of(1, 2), guests=(1, 2)),
    "nobody minds": Case(of(1, 2), of(2)),
    "its guest is connected": Case(of(1, 2), of(2), guests=(1,), held_back=("relay:1",)),
    "allowed by name": Case(of(1, 2), of(2), (1,), Policy(allowed=frozenset({1}))),
    "another one is allowed": Case(of(1, 2), of(2), (1,), Policy(allowed=frozenset({2})), held_back=("relay:1",)),
    "it was protected": Case(of(1, 2), of(2), protected=(1,), held_back=("relay:1",)),
    "protected, and allowed": Case(of(1, 2), of(2), policy=Policy(allowed=frozenset({1})), protected=(1,)),
    "two of two": Case(of(1, 2), of()),
    "two of three": Case(of(1, 2, 3), of(1), held_back=("relay:2", "relay:3")),
    "one of three": Case(of(1, 2, 3), of(1, 2)),
    "two of four": Case(of(1, 2, 3, 4), of(1, 2)),
    "an emptied file": Case(of(1, 2, 3), of(), held_back=("relay:1", "relay:2", "relay:3")),
    "all but those allowed are half": Case(of(1, 2, 3, 4), of(1), policy=Policy(allowed=frozenset({2}))),
    "another VF": Case(of(1), state(relay(1, port=9)), guests=(1,)),
    "another VF, and it is protected": Case(of(1), state(relay(1, port=9)), protected=(1,)),
    "another socket": Case(of(1), state(relay(1, socket=9)), guests=(1,), held_back=("relay:1",)),
    "exchanged VFs": Case(of(1, 2), state(relay(1, port=2), relay(2, port=1)), guests=(1, 2)),
    "exchanged sockets": Case(of(1, 2), state(relay(1, socket=2), relay(2, socket=1)), guests=(1, 2)),
    "a new process": Case(of(1), state(relay(1), main_cpu=5), guests=(1,)),
}


def judged(case: Case) -> Guarded:
    last = LastTarget(case.live, frozenset(case.protected)) if case.protected else None
    return guard(case.wanted, snapshot(case.live, *case.guests), case.policy, last)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_is_held_back(case: Case) -> None:
    found = judged(case)
    assert tuple(each.resource for each in found.held_back) == case.held_back
    if not case.held_back:
        assert found.target == case.wanted


def test_what_is_held_back_stays_as_it_is_and_the_rest_goes_on() -> None:
    found = guard(of(2, 3), snapshot(of(1, 2), 1), Policy())
    assert found.target == of(1, 2, 3)
    assert str(found.held_back[0]) == (
        "relay:1 is left as it is: its guest is connected; to have it all the same: "
        "vio4wd apply --allow-destroy relay:1 FILE"
    )


def test_who_needs_the_vf_of_a_held_relay_waits_and_is_not_half_set_up() -> None:
    found = guard(state(relay(4, port=1), relay(2)), snapshot(of(1, 2), 1), Policy())
    assert [(each.resource, each.allow) for each in found.held_back] == [("relay:1", "relay:1"), ("relay:4", "relay:1")]
    assert found.target == of(1, 2)


def test_a_live_relay_that_needs_a_held_ones_socket_stays_with_its_own_and_so_on() -> None:
    wanted = state(relay(2, socket=1), relay(3, socket=2))
    found = guard(wanted, snapshot(of(1, 2, 3), 1), Policy())
    assert [each.resource for each in found.held_back] == ["relay:1", "relay:2", "relay:3"]
    assert found.target == of(1, 2, 3)


def test_a_bond_that_takes_a_held_relays_vf_waits() -> None:
    bond = Port("net_bonding0", bond_mode="active-backup", members=("net_null1",))
    wanted = State.of([Engine(), Worker(1), bond, Socket("/tmp/7"), Relay(7, bond.name, "/tmp/7")])
    found = guard(wanted, snapshot(of(1), 1), Policy())
    assert [each.resource for each in found.held_back] == ["relay:1", "relay:7"]
    assert (set(found.target.relays), set(found.target.ports)) == ({1}, {"net_null1"})


def test_who_needs_the_interface_below_a_held_relays_vf_waits() -> None:
    one, other = Port("net_tap1", args="iface=veth1"), Port("net_af_packet2", args="iface=veth1")
    live = State.of([Engine(), Worker(1), one, Socket("/tmp/1"), Relay(1, one.name, "/tmp/1"), Pin(1, 1, 1)])
    wanted = State.of([Engine(), Worker(1), other, Socket("/tmp/2"), Relay(2, other.name, "/tmp/2")])
    found = guard(wanted, snapshot(live, 1), Policy())
    assert [each.resource for each in found.held_back] == ["relay:1", "relay:2"]
    assert set(found.target.ports) == {"net_tap1"}


def test_sockets_of_the_template_stay_without_a_relay() -> None:
    wanted = state(relay(4, port=1), sockets=("/tmp/4", "/tmp/5"))
    found = guard(wanted, snapshot(of(1), 1), Policy())
    assert set(found.target.sockets) == {"/tmp/1", "/tmp/4", "/tmp/5"}


def test_no_new_process_while_something_is_held_back() -> None:
    found = guard(state(relay(2), main_cpu=5), snapshot(of(1, 2), 1), Policy())
    assert [each.resource for each in found.held_back] == ["engine:0", "relay:1"]
    assert found.target == of(1, 2)


def test_a_held_relay_whose_cpu_is_taken_away_moves_and_lives() -> None:
    found = guard(state(relay(2), cpus=(2,)), snapshot(of(1, 2), 1), Policy())
    assert set(found.target.relays) == {1, 2}
    assert 1 not in found.target.pins


def test_a_protected_relay_is_wanted_even_when_its_engine_has_died() -> None:
    last = LastTarget(of(1, 2), frozenset({1}))
    found = guard(of(2), snapshot(of()), Policy(), last)
    assert found.target == of(1, 2)
    assert carried_over(found, Policy(), last) == {1}


def test_protection_that_is_taken_out_together_with_the_relay_still_protects() -> None:
    last = LastTarget(of(1), frozenset({1}))
    found = guard(of(), snapshot(of(1)), Policy(), last)
    again = LastTarget(found.target, carried_over(found, Policy(), last))
    assert [each.resource for each in guard(of(), snapshot(of(1)), Policy(), again).held_back] == ["relay:1"]
    kept = guard(of(1), snapshot(of(1)), Policy(), last)
    assert carried_over(kept, Policy(), last) == frozenset()


def test_a_relay_whose_device_is_gone_can_be_held_back_too() -> None:
    """It is observed without its port while its VF, or its bond, is taken away."""
    live = of(1, 2)
    live = replace(live, ports={name: port for name, port in live.ports.items() if name != "net_null1"})
    guarded = guard(of(2), snapshot(live, 1), Policy(frozenset({1})), None)
    assert [each.resource for each in guarded.held_back] == ["relay:1"]
    assert 1 in guarded.target.relays
