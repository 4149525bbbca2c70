"""VFs and bonds that exchange devices in any way: the plan leads there, whatever stood where."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.devices import devices
from reconciler.plan import plan
from schema.model import Impact, Kind, Pin, Port, Relay, Resource, Socket, State, Verb, Worker
from tests.reconciler.test_plan_properties import carried_out, without_pins

DEVICES = tuple(f"net_null{i}" for i in range(6))
MODES = ("active-backup", "balance")


@st.composite
def bonded_states(draw: st.DrawFn) -> State:
    """Relays of which each has a VF or a bond, no device in two of them."""
    ids = sorted(draw(st.sets(st.integers(0, 3), max_size=4)))
    names = draw(st.permutations(range(4)))
    left = list(draw(st.permutations(DEVICES)))
    resources: list[Resource] = [Worker(1)]
    for id_, name in zip(ids, names, strict=False):
        count = min(draw(st.integers(0, 2)), len(left) - len(ids))
        port = Port(left.pop()) if count <= 0 else _bond(name, draw(st.sampled_from(MODES)), left, count)
        resources += [port, Socket(f"/tmp/{id_}.sock"), Relay(id_, port.name, f"/tmp/{id_}.sock"), Pin(id_, 1, 1)]
    return State.of(resources)


def _bond(name: int, mode: str, left: list[str], count: int) -> Port:
    return Port(f"net_bonding{name}", bond_mode=mode, members=tuple(left.pop() for _ in range(count)))


@given(desired=bonded_states(), observed=bonded_states())
@settings(max_examples=500, deadline=None)
def test_leads_there(desired: State, observed: State) -> None:
    """The fake engine refuses a device that another port still has."""
    live = carried_out(desired, observed).state
    assert without_pins(live) == without_pins(desired)
    assert plan(desired, live).actions == ()


@given(desired=bonded_states(), observed=bonded_states())
@settings(max_examples=300, deadline=None)
def test_a_member_that_leaves_is_said_to_cost_its_relay(desired: State, observed: State) -> None:
    for action in plan(desired, observed).actions:
        if (action.kind, action.verb) == (Kind.PORT, Verb.UPDATE):
            assert isinstance(action.before, Port)
            assert isinstance(action.after, Port)
            leaves = bool(devices(action.before) - devices(action.after))
            assert (action.impact is Impact.RELAY) == leaves
