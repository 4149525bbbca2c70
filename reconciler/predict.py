"""What a plan will have made of a state, once all of it is carried out."""

from __future__ import annotations

from engine.client import Observation
from reconciler.errands import plans_of
from reconciler.hostplan import plan_host
from reconciler.kinds.engine import needs_new_process
from reconciler.plan import Plan
from reconciler.sighting import Sighting
from schema.model import Action, Engine, Key, Kind, Resource, State

IMAGINED = "imagined"
"""The boot id of an engine that is nowhere: a plan for it can't be carried out."""


def predict(observed: State, plan: Plan) -> State:
    """The state after the plan. For the actions of `plan(desired, observed)` it matches `desired`."""
    live: dict[tuple[Kind, Key], Resource] = {
        (kind, key): resource for kind in Kind for key, resource in observed.resources(kind).items()
    }
    for action in plan.actions:
        _step(live, plan, action)
    return State.of(live.values())


def carried_out(target: State) -> Sighting:
    """What engines would show that were started for this target, and on which it was applied. Raises SpecUnfit."""
    todo = plan_host(target, Sighting())
    plans = plans_of(todo.errands)
    seen = {}
    for shard, wanted in todo.targets.items():
        born = State(engine=wanted.engine, workers=wanted.workers)
        seen[shard] = Observation(IMAGINED, 0, predict(born, plans.get(shard, Plan())), {})
    return Sighting(seen)


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


def restarts(plan: Plan) -> bool:
    """Whether the plan ends the engine's process, so that everything has to be built again."""
    return any(
        isinstance(a.after, Engine) and isinstance(a.before, Engine) and needs_new_process(a.before, a.after)
        for a in plan.actions
    )
