"""Relays are divided among engine processes: nobody is crowded, nobody moves without need, nobody waits in a circle."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.api.client import Observation
from engine.api.live import Limits
from reconciler.apply.executor import Verdict, apply_host
from reconciler.host.refusal import SpecUnfit
from reconciler.observe.engine_start import needed
from reconciler.observe.engines import HostSnapshot
from reconciler.planning.host_plan import HostPlan, plan_host
from reconciler.planning.shards import allot, check_ports, costs_of, divide
from schema.model import (
    MAX_SHARDS,
    Action,
    Impact,
    Kind,
    Port,
    Relay,
    Resource,
    State,
    Verb,
    Worker,
)
from schema.vf import device_names
from tests.kit.fakes.fake_engine import FakeEngine, LocalClient
from tests.kit.relay_states import wanted
from tests.kit.runner.repetitions import times
from tests.reconciler.planning.state_strategies import states


def divided(state: State) -> dict[int, State]:
    """Its relays on two engines, by whether their id is odd."""
    parts = {}
    for shard in (0, 1):
        relays = {id_: relay for id_, relay in state.relays.items() if id_ % 2 == shard}
        ports, paths = {r.port: state.ports[r.port] for r in relays.values()}, {r.socket for r in relays.values()}
        sockets = {path: state.sockets[path] for path in paths}
        pins = {id_: state.pins[id_] for id_ in relays}
        parts[shard] = replace(state, relays=relays, ports=ports, sockets=sockets, pins=pins)
    return parts


@given(desired=states(bonds=True), observed=states(observed=True, bonds=True), homes=st.sampled_from([0, 1, None]))
@settings(max_examples=times(100, 400), deadline=None)
def test_no_process_takes_a_device_that_another_one_still_has(
    desired: State, observed: State, homes: int | None
) -> None:
    live = divided(observed)
    known = {} if homes is None else {id_: (id_ + homes) % 2 for id_ in desired.relays}
    seen = {shard: Observation("boot", 0, state) for shard, state in live.items()}
    ports = {shard: dict(state.ports) for shard, state in live.items()}
    for planned in plan_host(desired, HostSnapshot(seen, {}, {}, known)).planned_actions:
        if planned.action.kind is Kind.PORT:
            ports.setdefault(planned.shard, {}).pop(str(planned.action.key), None)
        if isinstance(port := planned.action.after, Port):
            attached = [device_names(other) for each in ports.values() for other in each.values()]
            assert not device_names(port) & frozenset().union(*attached)
            ports[planned.shard][port.name] = port


class Host:
    """Fake engines of 4 ports each; those that are needed start by themselves, as under `vio4wd run`."""

    def __init__(self, ports: int = 4) -> None:
        self.engines: dict[int, FakeEngine] = {}
        self.ports = ports
        self.remembered: dict[int, int] = {}
        self.silent: dict[int, str] = {}

    def snapshot(self) -> HostSnapshot:
        up = {shard: engine for shard, engine in self.engines.items() if shard not in self.silent}
        seen = {shard: LocalClient(engine).observe() for shard, engine in up.items()}
        limits = {shard: Limits(self.ports) for shard in range(MAX_SHARDS)}
        return HostSnapshot(seen, dict(self.silent), limits, dict(self.remembered))

    def plan(self, target: State) -> HostPlan:
        return plan_host(target, self.snapshot())

    def steer(self, target: State) -> HostPlan:
        """Starts who is needed, carries out, ends who is not; afterwards nothing is left to do."""
        for shard, state in self.plan(target).targets.items():
            if needed(shard, state) and shard not in self.engines:
                self.engines[shard] = FakeEngine.of(State(state.engine, state.workers), limits={"ports": self.ports})
        todo = self.plan(target)
        outcome = apply_host(todo, self.snapshot().observations, self.clients)
        assert outcome.verdict is Verdict.APPLIED, [s for s in outcome.steps if s.message] or outcome.message
        self.remembered = {id_: shard for shard, state in todo.targets.items() for id_ in state.relays}
        for shard in [shard for shard in self.engines if not needed(shard, todo.targets.get(shard, State()))]:
            assert not self.engines.pop(shard).state.ports
        again = self.plan(target)
        assert (again.actions, again.missing) == ((), {})
        return todo

    @property
    def clients(self) -> dict[int, LocalClient]:
        return {shard: LocalClient(engine) for shard, engine in self.engines.items()}

    @property
    def homes(self) -> dict[int, int]:
        return {id_: shard for shard, engine in self.engines.items() for id_ in engine.state.relays}


def settled(target: State, ports: int = 4) -> Host:
    host = Host(ports)
    host.steer(target)
    return host


def said(todo: HostPlan) -> list[str]:
    return [f"{e.shard} {e.action.verb} {e.action.resource}" for e in todo.planned_actions]


def test_one_shard_as_long_as_it_is_enough() -> None:
    todo = settled(wanted(1, 2, 3, 4)).steer(wanted(1, 2, 3, 4))
    assert not todo.several
    host = settled(wanted(1, 2, 3, 4, 5))
    assert host.homes == {1: 0, 2: 0, 3: 0, 4: 0, 5: 1}


def test_who_is_there_stays_and_a_shard_without_relays_ends() -> None:
    host = settled(wanted(1, 2, 3, 4, 5, 6))
    before = {s: dict(engine.serials) for s, engine in host.engines.items()}
    host.steer(wanted(3, 4, 5, 6, 7))
    assert host.homes == {3: 0, 4: 0, 7: 0, 5: 1, 6: 1}
    for id_, shard in ((3, 0), (4, 0), (5, 1), (6, 1)):
        assert host.engines[shard].serials[Kind.RELAY, id_] == before[shard][Kind.RELAY, id_]
    host.steer(wanted(3, 7))
    assert set(host.engines) == {0}


def test_a_relay_that_must_move_says_what_it_costs() -> None:
    host = settled(wanted(1, 2, 3, 4))
    todo = host.steer(wanted(1, 2, 3, 4, bonds={1: 2}))
    moves = [e for e in todo.planned_actions if e.action.kind is Kind.RELAY and "move" in e.action.reason]
    assert sorted((e.shard, e.action.verb) for e in moves) == [(0, Verb.REMOVE), (1, Verb.ADD)]
    assert {e.action.impact for e in moves} == {Impact.GUEST}
    assert len({e.action.relay for e in moves}) == 1
    assert sum(host.homes.values()) == 1


def test_vfs_that_change_hands_between_shards_are_let_go_first() -> None:
    """Everybody takes the next one's VF: a circle through both shards, and both are full."""
    host = settled(wanted(*range(8)))
    homes = host.homes
    todo = host.steer(wanted(*range(8), shift=1))
    assert host.homes == homes
    broken = [e for e in todo.planned_actions if e.action.kind is Kind.RELAY and e.action.verb is Verb.REMOVE]
    assert 1 <= len(broken) <= 3, said(todo)


def test_a_full_shard_lets_go_of_a_vf_before_it_takes_another() -> None:
    host = settled(wanted(1, 2, 3, 4))
    other = State.of([r for r in _resources(wanted(1, 2, 3, 4)) if r != Port("net_null1") and _id(r) != 1])
    target = State.of([*_resources(other), Port("net_null9"), Relay(1, "net_null9", "/tmp/1.sock")])
    todo = host.steer(target)
    assert "no port to spare" in next(a.reason for a in todo.actions if a.kind is Kind.RELAY)
    assert set(host.engines) == {0}


def _resources(state: State) -> list[Resource]:
    return [resource for kind in Kind for resource in state.resources(kind).values()]


def _id(resource: Resource) -> int | None:
    return resource.id if isinstance(resource, Relay) else None


def test_one_that_is_down_keeps_its_relays_and_stops_nobody() -> None:
    host = settled(wanted(1, 2, 3, 4, 5))
    host.silent[1] = "shard 1 hangs"
    todo = host.plan(wanted(1, 2, 4, 5, 6))
    assert todo.missing == {1: "shard 1 hangs"}
    assert {planned.shard for planned in todo.planned_actions} == {0}
    outcome = apply_host(todo, host.snapshot().observations, host.clients)
    assert outcome.verdict is Verdict.FAILED
    assert [(r.relay, r.applied, r.pending) for r in outcome.relays] == [
        (1, True, False),
        (2, True, False),
        (4, True, False),
        (5, False, True),
        (6, True, False),
    ]
    host.silent.clear()
    host.steer(wanted(1, 2, 4, 5, 6))
    assert host.homes[5] == 1


def test_one_that_dies_does_not_stop_the_others() -> None:
    host = settled(wanted(1, 2, 3, 4, 5))
    todo = host.plan(wanted(1, 2, 3, 5, 6))
    host.steer(wanted(1, 2, 3, 4, 5))
    snapshot = host.snapshot()

    def die(_: Action) -> None:
        host.engines[1].gone = True

    target = wanted(1, 2, 3, 7, 8, 9, bonds={8: 2})
    todo = plan_host(target, snapshot)
    host.engines[1].before_execute = die
    outcome = apply_host(todo, snapshot.observations, host.clients)
    assert outcome.verdict is Verdict.FAILED
    assert "shard 1: no engine answers" in outcome.message
    assert {r.relay for r in outcome.relays if r.applied} >= {1, 2, 3}


def test_after_a_new_start_of_everything_it_is_compact_again() -> None:
    host = settled(wanted(1, 2, 3, 4, 5, 6))
    host.steer(wanted(1, 5))
    assert host.homes == {1: 0, 5: 1}
    assert set(host.engines) == {0, 1}
    host.engines = {0: FakeEngine.of(State(workers=frozenset({Worker(1), Worker(2)})), limits={"ports": 4})}
    host.steer(wanted(1, 5))
    assert host.homes == {1: 0, 5: 0}


@pytest.mark.parametrize(
    ("ids", "bonds", "arithmetic"),
    [
        (64, 33, "need 130 ports of DPDK (31 for VFs + 33 x 3 for bonds of 2), and 4 shards with 32 ports each"),
        (41, 41, "they can't be divided so"),
    ],
)
def test_too_much_is_refused_with_the_arithmetic(ids: int, bonds: int, arithmetic: str) -> None:
    with pytest.raises(SpecUnfit) as refused:
        check_ports(wanted(*range(ids), bonds=dict.fromkeys(range(bonds), 2)))
    assert arithmetic in str(refused.value)
    check_ports(wanted(*range(ids), bonds=dict.fromkeys(range(bonds - 1), 2)))


def test_cpus_are_not_shared_where_that_can_be() -> None:
    homes = {id_: id_ // 4 for id_ in range(8)}
    shares = allot(wanted(*range(8), cpus=(1, 2, 3)), homes, {})
    assert shares == {0: {1, 3}, 1: {2}}
    shares = allot(wanted(*range(8), cpus=(1, 2, 3), pins={0: 2}), homes, {})
    assert shares == {0: {2}, 1: {1, 3}}
    assert allot(wanted(*range(8), cpus=(1,)), homes, {}) == {0: {1}, 1: {1}}


def test_cpus_are_never_shared_by_workers_that_do_not_sleep() -> None:
    homes = {id_: id_ // 4 for id_ in range(8)}
    allot(wanted(*range(8), cpus=(1, 2), idle="busy"), homes, {})
    with pytest.raises(SpecUnfit, match="shards 0 and 1 would share CPU 1"):
        allot(wanted(*range(8), cpus=(1,), idle="busy"), homes, {})
    with pytest.raises(SpecUnfit, match="shards 0 and 1 would share CPU 2"):
        allot(wanted(*range(8), cpus=(1, 2, 3), idle="busy", pins={0: 2, 7: 2}), homes, {})


def test_relays_make_room_when_another_shard_needs_the_cpu() -> None:
    host = settled(wanted(1, 2, 3, 4))
    assert {pin.vf_to_vm for pin in host.engines[0].state.pins.values()} == {1, 2}
    host.steer(wanted(1, 2, 3, 4, 5))
    used = {s: {pin.vf_to_vm for pin in engine.state.pins.values()} for s, engine in host.engines.items()}
    assert not used[0] & used[1]


COSTS = st.dictionaries(st.integers(0, 7), st.sampled_from((1, 1, 1, 3)), max_size=7)
ROOM = (4, 4, 4)


def _all_homes(costs: dict[int, int]) -> list[dict[int, int]]:
    ids = sorted(costs)
    found = []
    for choice in product(range(len(ROOM)), repeat=len(ids)):
        homes = dict(zip(ids, choice, strict=True))
        used = Counter[int]()
        for id_, shard in homes.items():
            used[shard] += costs[id_]
        if all(used[shard] <= ports for shard, ports in enumerate(ROOM)):
            found.append(homes)
    return found


@given(costs=COSTS, live=st.dictionaries(st.integers(0, 7), st.integers(0, 2), max_size=8))
@settings(max_examples=60, deadline=None)
def test_nobody_is_crowded_and_as_few_as_possible_move(costs: dict[int, int], live: dict[int, int]) -> None:
    possible = _all_homes(costs)
    if not possible:
        with pytest.raises(SpecUnfit):
            divide(costs, live, {}, ROOM)
        return
    division = divide(costs, live, {}, ROOM)
    assert division.homes in possible
    least = min(sum(homes[id_] != live.get(id_, homes[id_]) for id_ in homes) for homes in possible)
    assert len(division.moved) == least
    assert divide(costs, division.homes, {}, ROOM).homes == division.homes


SPECS = st.tuples(
    st.lists(st.integers(0, 11), unique=True, max_size=9),
    st.sets(st.integers(0, 11), max_size=2),
    st.integers(0, 3),
    st.dictionaries(st.integers(0, 11), st.sampled_from((1, 2, 3)), max_size=4),
)


def _spec(drawn: tuple[list[int], set[int], int, dict[int, int]]) -> State:
    ids, bonds, shift, pins = drawn
    own = {id_: cpu for id_, cpu in pins.items() if id_ in ids}
    return wanted(*ids, cpus=(1, 2, 3), bonds=dict.fromkeys(bonds & set(ids), 2), shift=shift, pins=own)


@given(before=SPECS, after=SPECS)
@settings(max_examples=150, deadline=None)
def test_every_walk_gets_there_and_then_rests(
    before: tuple[list[int], set[int], int, dict[int, int]], after: tuple[list[int], set[int], int, dict[int, int]]
) -> None:
    host = settled(_spec(before), ports=5)
    then = host.homes
    host.steer(_spec(after))
    assert set(host.homes) == set(_spec(after).relays)
    for shard, engine in host.engines.items():
        assert sum(costs_of(engine.state).values()) <= 5, shard
    if sum(costs_of(_spec(after)).values()) <= 5 and not then:
        assert set(host.engines) == {0}


def test_64_relays_are_planned_in_10_ms_of_cpu_time() -> None:
    target = wanted(*range(64))
    host = settled(target, ports=32)
    changed = wanted(*range(64), shift=1)
    snapshot = host.snapshot()
    best = min(_cpu_s(changed, snapshot) for _ in range(5))
    assert len(plan_host(target, HostSnapshot()).actions) == 3 * 64
    assert plan_host(changed, snapshot).actions
    assert best < 0.010


def _cpu_s(target: State, snapshot: HostSnapshot) -> float:
    began = time.process_time()
    plan_host(target, snapshot)
    return time.process_time() - began


def test_observations_are_kept_apart() -> None:
    snapshot = HostSnapshot({1: Observation("b", 0, wanted(7)), 0: Observation("a", 0, wanted(3))})
    assert snapshot.live == {3: 0, 7: 1}
