"""What applying does when the engine does not do as it is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.apply.executor import Outcome, StepResult, Verdict, apply, apply_host
from reconciler.planning.host_plan import HostPlan
from reconciler.planning.plan import plan
from reconciler.planning.planned_action import alone
from schema.model import Action, Key, Kind, Pin, Port, Relay, Resource, Socket, State, Verb, Worker
from tests.kit.fakes.fake_engine import FakeEngine, LocalClient
from tests.kit.relay_states import state

EMPTY = state()


def steer(engine: FakeEngine, target: State) -> Outcome:
    client = LocalClient(engine)
    seen = client.observe()
    return apply(plan(target, seen.state), target, seen, client)


def identities(engine: FakeEngine, id_: int) -> list[int]:
    names: list[tuple[Kind, Key]] = [
        (Kind.PORT, f"net_null{id_}"),
        (Kind.SOCKET, f"/tmp/{id_}.sock"),
        (Kind.RELAY, id_),
    ]
    return [engine.serials[name] for name in names]


def test_walk_from_empty_and_back() -> None:
    engine = FakeEngine.of(EMPTY)
    assert steer(engine, EMPTY).steps == ()
    assert len(steer(engine, state(1, 2)).steps) == 6
    survivor = identities(engine, 2)
    assert steer(engine, state(1, 2)).steps == ()
    assert identities(engine, 2) == survivor
    assert steer(engine, state(2, 3, pins={2: 2})).verdict is Verdict.APPLIED
    assert identities(engine, 2) == survivor
    assert engine.state == state(2, 3, pins={2: 2})
    assert steer(engine, EMPTY).verdict is Verdict.APPLIED
    assert engine.state == EMPTY


@pytest.mark.parametrize(
    ("broken", "skipped"),
    [
        ((Verb.ADD, "port:net_null2"), {"relay:2"}),
        ((Verb.ADD, "socket:/tmp/2.sock"), {"relay:2"}),
        ((Verb.ADD, "relay:2"), set()),
    ],
)
def test_a_failure_costs_only_its_own_relay(broken: tuple[Verb, str], skipped: set[str]) -> None:
    engine = FakeEngine.of(EMPTY, broken={broken: "no-device"})
    outcome = steer(engine, state(1, 2, 3))
    assert outcome.verdict is Verdict.FAILED
    assert {s.action.resource for s in outcome.steps if s.ending is StepResult.SKIPPED} == skipped
    assert [(r.relay, r.applied) for r in outcome.relays] == [(1, True), (2, False), (3, True)]
    assert "is broken" in outcome.relays[1].message
    assert set(engine.state.relays) == {1, 3}
    engine.broken.clear()
    assert steer(engine, state(1, 2, 3)).verdict is Verdict.APPLIED


def test_a_relay_that_can_not_be_removed_keeps_its_port_and_socket_and_the_rest_goes() -> None:
    engine = FakeEngine.of(state(1, 2), broken={(Verb.REMOVE, "relay:1"): "failed"})
    outcome = steer(engine, EMPTY)
    endings = {s.action.resource: s.ending for s in outcome.steps}
    assert endings["port:net_null1"] is endings["socket:/tmp/1.sock"] is StepResult.SKIPPED
    assert endings["port:net_null2"] is endings["relay:2"] is StepResult.DONE
    assert [(r.relay, r.applied) for r in outcome.relays] == [(1, False)]


def test_a_chain_stops_behind_the_link_that_failed() -> None:
    ports = [Port(f"p{i}") for i in range(4)]
    rest: list[Resource] = [Worker(1), *(Socket(f"/{i}") for i in range(3)), *(Pin(i, 1, 1) for i in range(3))]
    live = State.of([*ports[:3], *rest, *(Relay(i, f"p{i}", f"/{i}") for i in range(3))])
    target = State.of([*ports[1:], *rest, *(Relay(i, f"p{i + 1}", f"/{i}") for i in range(3))])
    engine = FakeEngine.of(live, broken={(Verb.UPDATE, "relay:1"): "failed"})
    outcome = steer(engine, target)
    assert {s.action.resource: s.ending.value for s in outcome.steps} == {
        "port:p3": "done",
        "relay:2": "done",
        "relay:1": "failed",
        "relay:0": "skipped",
        "port:p0": "skipped",
    }


def test_a_bond_waits_for_a_member_that_another_port_could_not_drop() -> None:
    vf, bond = Port("net_null1"), Port("net_bonding0", bond_mode="active-backup", members=("net_null1",))
    rest: list[Resource] = [Worker(1), Socket("/1"), Pin(1, 1, 1)]
    engine = FakeEngine.of(
        State.of([vf, *rest, Relay(1, vf.name, "/1")]), broken={(Verb.REMOVE, "port:net_null1"): "x"}
    )
    outcome = steer(engine, State.of([bond, *rest, Relay(1, bond.name, "/1")]))
    assert {
        f"{s.action.verb} {s.action.resource}": s.message for s in outcome.steps if s.ending != StepResult.DONE
    } == {
        "remove port:net_null1": "port:net_null1 is broken",
        "add port:net_bonding0": "remove port:net_null1 came first and did not work",
        "add relay:1": "add port:net_bonding0 came first and did not work",
    }


def test_a_worker_stays_while_a_pin_could_not_leave_it_and_other_pins_move() -> None:
    engine = FakeEngine.of(state(1, 2, cpus=(1, 2)), broken={(Verb.MIGRATE, "pin:1"): "failed"})
    outcome = steer(engine, state(1, 2, cpus=(2,), pins={1: 2, 2: 2}))
    assert {s.action.resource: s.ending.value for s in outcome.steps} == {
        "pin:1": "failed",
        "pin:2": "done",
        "worker:1": "skipped",
    }


def test_a_change_by_somebody_else_is_noticed_before_anything_is_done() -> None:
    engine = FakeEngine.of(EMPTY)
    client = LocalClient(engine)
    seen = client.observe()
    engine.generation += 1
    outcome = apply(plan(state(1), seen.state), state(1), seen, client)
    assert (outcome.verdict, outcome.steps) == (Verdict.STALE, ())
    assert engine.executed == []


def test_a_change_by_somebody_else_in_between_stops_the_plan() -> None:
    engine = FakeEngine.of(EMPTY)

    def interfere(action: Action) -> None:
        if action.kind is Kind.RELAY:
            engine.generation += 1

    engine.before_execute = interfere
    outcome = steer(engine, state(1))
    assert (outcome.verdict, len(outcome.steps)) == (Verdict.STALE, 2)
    engine.before_execute = None
    assert steer(engine, state(1)).verdict is Verdict.APPLIED


def test_an_engine_that_dies_is_lost_not_failed() -> None:
    engine = FakeEngine.of(EMPTY)

    def die(action: Action) -> None:
        engine.gone = action.kind is Kind.SOCKET

    engine.before_execute = die
    outcome = steer(engine, state(1))
    assert (outcome.verdict, len(outcome.steps)) == (Verdict.LOST, 2)
    assert [r.applied for r in outcome.relays] == [False]


def test_a_new_process_is_waited_for() -> None:
    engine = FakeEngine.of(state(1))
    target = state(1, main_cpu=3)
    first = engine.boot_id
    outcome = steer(engine, target)
    assert (outcome.verdict, len(outcome.steps)) == (Verdict.RESTARTING, 1)
    assert engine.boot_id != first
    assert steer(engine, target).verdict is Verdict.APPLIED
    assert engine.state == target


class Liar(LocalClient):
    """Says done and does nothing."""

    def execute(self, action: Action, boot_id: str, generation: int, pin: Pin | None = None) -> tuple[int, int]:
        del action, boot_id, pin
        return generation, 1


def test_what_was_answered_does_not_count() -> None:
    client = Liar(FakeEngine.of(EMPTY))
    seen = client.observe()
    outcome = apply(plan(state(1), seen.state), state(1), seen, client)
    assert outcome.verdict is Verdict.FAILED
    assert "still lacks: add port:net_null1" in outcome.message
    assert [r.applied for r in outcome.relays] == [False]


def steer_without(engine: FakeEngine, target: State, held_back: set[str]) -> Outcome:
    """Steers, and holds back these resources' actions."""
    client = LocalClient(engine)
    seen = client.observe()
    planned_actions = alone(plan(target, seen.state))
    marked = tuple(replace(e, held_back="not now" if e.action.resource in held_back else "") for e in planned_actions)
    return apply_host(HostPlan(marked, {0: target}), {0: seen}, {0: client})


def test_what_is_held_back_is_left_as_it_is_and_so_is_what_needs_it() -> None:
    engine = FakeEngine.of(state(1))
    untouched = identities(engine, 1)
    outcome = steer_without(engine, state(2, 3), {"relay:1", "socket:/tmp/3.sock"})
    assert outcome.verdict is Verdict.HELD_BACK
    assert {s.action.resource for s in outcome.steps if s.ending is StepResult.HELD_BACK} == {
        *("relay:1", "port:net_null1", "socket:/tmp/1.sock", "socket:/tmp/3.sock", "relay:3")
    }
    assert [(r.relay, r.applied) for r in outcome.relays] == [(1, False), (2, True), (3, False)]
    assert outcome.relays[0].message == "remove relay:1: not now"
    assert outcome.relays[2].message == "add socket:/tmp/3.sock: not now"
    assert identities(engine, 1) == untouched


def test_what_failed_beside_what_is_held_back_is_a_failure() -> None:
    engine = FakeEngine.of(state(1), broken={(Verb.ADD, "port:net_null2"): "no-device"})
    assert steer_without(engine, state(2), {"relay:1"}).verdict is Verdict.FAILED


def test_what_failed_counts_more_than_what_is_not_there_yet() -> None:
    """A relay that only waits for its VF is pending; one whose socket is refused, too, is broken."""
    engine = FakeEngine.of(EMPTY)
    engine.broken[Verb.ADD, "port:net_null1"] = engine.broken[Verb.ADD, "port:net_null2"] = "no-device"
    engine.broken[Verb.ADD, "socket:/tmp/2.sock"] = "socket"
    first, second = steer(engine, state(1, 2)).relays
    assert (first.pending, first.message.partition(":")[0]) == (True, "add port")
    assert (second.pending, second.message.partition(":")[0]) == (False, "add socket")
