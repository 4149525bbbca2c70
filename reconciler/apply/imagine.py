"""Engines that are nowhere, for comparing specs without any."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from engine.api.client import Observation
from reconciler.apply.saved_plan import SavedPlan
from reconciler.observe.snapshot import HostSnapshot
from reconciler.planning.host_plan import plan_host
from reconciler.planning.plan import Plan
from reconciler.planning.planned_action import PlannedAction, plans_of
from reconciler.planning.predict import predict
from schema.model import Mount, Socket, State

IMAGINED = "imagined"
"""The boot id of an engine that is nowhere: a plan for it can't be carried out."""


def carried_out(target: State) -> HostSnapshot:
    """What engines would show that were started for this target, and on which it was applied. Raises SpecUnfit."""
    todo = plan_host(target, HostSnapshot())
    plans = plans_of(todo.planned_actions)
    seen = {}
    for shard, wanted in todo.targets.items():
        born = State(engine=wanted.engine, workers=wanted.workers)
        seen[shard] = Observation(IMAGINED, 0, predict(born, plans.get(shard, Plan())))
    return HostSnapshot(seen)


def with_names(saved: SavedPlan, names: Mapping[int, str]) -> SavedPlan:
    """A plan that is only to be shown, with the names of owners that this machine has not in place of the numbers that
    stood for them."""
    if not names:
        return saved
    planned_actions, follows = (
        tuple(_errand(each, names) for each in part) for part in (saved.planned_actions, saved.follows)
    )
    states = {shard: _state(state, names) for shard, state in saved.states.items()}
    return replace(saved, planned_actions=planned_actions, follows=follows, states=states)


def _errand(planned: PlannedAction, names: Mapping[int, str]) -> PlannedAction:
    before, after = _named(planned.action.before, names), _named(planned.action.after, names)
    return replace(planned, action=replace(planned.action, before=before, after=after))


def _state(state: State, names: Mapping[int, str]) -> State:
    return replace(
        state,
        sockets={path: _named(each, names) for path, each in state.sockets.items()},
        mounts={path: _named(each, names) for path, each in state.mounts.items()},
    )


def _named(resource: Any, names: Mapping[int, str]) -> Any:
    if not isinstance(resource, Socket | Mount):
        return resource
    owner: Any = names.get(resource.uid or 0, resource.uid)  # a name where the model has a number: it is only shown
    group: Any = names.get(resource.gid or 0, resource.gid)
    return replace(resource, uid=owner, gid=group)
