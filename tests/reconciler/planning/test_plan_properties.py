"""Whatever the two states: the plan leads from one to the other, no shorter one does, and survivors stay untouched."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.apply.executor import StepResult, Verdict, apply
from reconciler.planning.plan import plan
from reconciler.planning.predict import predict
from reconciler.planning.prerequisites import firsts
from schema.model import Engine, Impact, Kind, Port, Relay, State, Verb
from schema.vf import device_names
from tests.kit.fakes.fake_engine import FakeEngine, LocalClient
from tests.kit.runner.repetitions import times
from tests.reconciler.planning.plan_length_oracle import least_actions
from tests.reconciler.planning.state_strategies import states


def carried_out(desired: State, observed: State) -> FakeEngine:
    engine = FakeEngine.of(observed)
    client = LocalClient(engine)
    seen = client.observe()
    outcome = apply(plan(desired, seen.state), desired, seen, client)
    assert outcome.verdict is Verdict.APPLIED, [s for s in outcome.steps if s.message] or outcome.message
    return engine


OPEN = ("pin", "vf", "pages", "mount")
"""What a spec may leave open, or what others may have made: there is more of it than is wanted."""


def settled(state: State) -> dict[str, object]:
    return {kind: value for kind, value in state.to_json().items() if kind not in OPEN}


@given(desired=states(bonds=True), observed=states(observed=True, bonds=True))
@settings(max_examples=times(100, 400), deadline=None)
def test_leads_there(desired: State, observed: State) -> None:
    live = carried_out(desired, observed).state
    assert settled(live) == settled(desired)
    assert all(live.pins[relay] == pin for relay, pin in desired.pins.items())
    assert plan(desired, live).actions == ()
    assert predict(observed, plan(desired, observed)) == live


@given(desired=states(max_relays=4, bonds=True), observed=states(observed=True, max_relays=4, bonds=True))
@settings(max_examples=times(100, 400), deadline=None)
def test_no_shorter_plan_exists(desired: State, observed: State) -> None:
    assert len(plan(desired, observed).actions) == least_actions(desired, observed)


@given(desired=states(bonds=True), observed=states(observed=True, bonds=True), pick=st.integers(0, 40))
@settings(max_examples=times(100, 400), deadline=None)
def test_what_a_failed_action_spoils_is_skipped_and_nothing_else_fails(
    desired: State, observed: State, pick: int
) -> None:
    engine = FakeEngine.of(observed)
    client = LocalClient(engine)
    seen = client.observe()
    todo = plan(desired, seen.state)
    if not todo.actions:
        return
    broken = todo.actions[pick % len(todo.actions)]
    engine.broken[broken.verb, broken.resource] = "failed"
    outcome = apply(todo, desired, seen, client)
    assert [s.action for s in outcome.steps if s.ending is StepResult.FAILED] == [broken]
    first = firsts(todo.actions, observed.pins)
    for step in outcome.steps:
        undone = [each for each in first[step.action] if each not in engine.executed]
        assert (step.action in engine.executed) <= (undone == [])


@given(desired=states(bonds=True), observed=states(observed=True, bonds=True))
@settings(max_examples=times(60, 200), deadline=None)
def test_survivors_are_not_touched(desired: State, observed: State) -> None:
    before = FakeEngine.of(observed).serials
    after = carried_out(desired, observed)
    changed = {(a.kind, a.key) for a in after.executed}
    for kind in (Kind.PORT, Kind.SOCKET, Kind.RELAY, Kind.WORKER):
        wanted, live = desired.resources(kind), observed.resources(kind)
        for key in wanted.keys() & live.keys():
            relay = wanted[key]
            if isinstance(relay, Relay) and desired.ports[relay.port] != observed.ports.get(relay.port):
                continue  # where bonds exchange members in a circle, one of them is made anew
            if wanted[key] == live[key]:
                assert (kind, key) not in changed
                assert after.serials[kind, key] == before[kind, key]


@given(desired=states(bonds=True), observed=states(observed=True, bonds=True))
@settings(max_examples=times(60, 200), deadline=None)
def test_what_others_made_is_not_touched(desired: State, observed: State) -> None:
    live = carried_out(desired, observed).state
    for size, pages in observed.pages.items():
        assert sum(live.pages[size].found if size in live.pages else ()) == sum(pages.found)
        assert live.pages[size].total >= sum(pages.found) if size in live.pages else not sum(pages.found)
    for path, mount in observed.mounts.items():
        if not mount.ours and path not in desired.mounts:
            assert live.mounts[path] == mount
    for address, vf in desired.vfs.items():
        if not vf.driver:
            assert live.vfs.get(address) == observed.vfs.get(address)


@given(desired=states(bonds=True), observed=states(observed=True, bonds=True))
@settings(max_examples=times(60, 200), deadline=None)
def test_a_member_that_leaves_is_said_to_cost_its_relay(desired: State, observed: State) -> None:
    for action in plan(desired, observed).actions:
        if (action.kind, action.verb) == (Kind.PORT, Verb.UPDATE):
            assert isinstance(action.before, Port)
            assert isinstance(action.after, Port)
            leaves = bool(device_names(action.before) - device_names(action.after))
            assert (action.impact is Impact.RELAY) == leaves


@given(desired=states(bonds=True), observed=states(observed=True, bonds=True))
@settings(max_examples=60, deadline=None)
def test_same_input_same_plan(desired: State, observed: State) -> None:
    again = State.from_json(desired.to_json()), State.from_json(observed.to_json())
    assert plan(desired, observed) == plan(*again)


@given(wanted=states(), live=states(observed=True, bonds=True))
@settings(max_examples=50, deadline=None)
def test_a_new_process_is_a_plan_of_its_own(wanted: State, live: State) -> None:
    desired = State(Engine(main_cpu=3), wanted.workers, wanted.ports, wanted.sockets, wanted.relays, wanted.pins)
    actions = plan(desired, live).actions
    assert [(a.verb, a.resource, a.impact) for a in actions] == [("replace", "engine:0", "host")]
