"""What a plan will have made of a state, once all of it is carried out."""

from __future__ import annotations

from reconciler.planning.plan import Plan
from schema.model import Action, Key, Kind, Resource, State


def predict(observed: State, plan: Plan) -> State:
    """The state after the plan. For the actions of `plan(desired, observed)` it matches `desired`."""
    live: dict[tuple[Kind, Key], Resource] = {
        (kind, key): resource for kind in Kind for key, resource in observed.resources(kind).items()
    }
    for action in plan.actions:
        _step(live, plan, action)
    return State.of(live.values())


def _step(live: dict[tuple[Kind, Key], Resource], plan: Plan, action: Action) -> None:
    if action.after is not None:
        live[action.kind, action.key] = action.after
    else:
        live.pop((action.kind, action.key), None)
    if action.kind is Kind.RELAY and action.after is None:
        live.pop((Kind.PIN, action.key), None)
    pin = plan.pin_of(action)
    if pin is not None:
        live[Kind.PIN, action.key] = pin
