"""What follows once an engine's process has been replaced: everything is built again on the new one, without what the
spec no longer has. Pure; a part of every plan that replaces an engine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from engine.api.client import Observation
from reconciler.observe.actions import add_worker, remove_port, remove_relay, remove_socket, remove_worker
from reconciler.observe.diff import difference
from reconciler.observe.engines import HostSnapshot
from reconciler.planning.plan import Plan
from reconciler.planning.planned_action import PlannedAction, plans_of
from reconciler.planning.predict import predict
from schema.model import Relay, Resource, State, Verb

COMING = "still to come"
"""The boot id of a process that is not there yet."""
ENDS = "it ends with the engine, and the spec no longer has it"
AGAIN = "it ends with the engine"


def seen_afterwards(
    planned_actions: Iterable[PlannedAction],
    replaced: frozenset[int],
    targets: Mapping[int, State],
    snapshot: HostSnapshot,
) -> HostSnapshot:
    """What the engines show when the new processes of the `replaced` shards are up, and before anything is done on
    them."""
    plans = plans_of(planned_actions)
    observations = {}
    for shard, observation in snapshot.observations.items():
        if shard in replaced:
            observations[shard] = Observation(COMING, 0, _newborn(targets[shard], observation.state))
        else:
            observations[shard] = replace(observation, state=predict(observation.state, plans.get(shard, Plan())))
    homes = {id_: shard for shard, target in targets.items() for id_ in target.relays}
    return HostSnapshot(observations, snapshot.silent, snapshot.limits, homes)


def _newborn(target: State, before: State) -> State:
    """It starts with its parameters; what was done on the host is as it was."""
    born = State(engine=target.engine, workers=target.workers)
    return replace(born, vfs=before.vfs, pages=before.pages, mounts=before.mounts)


def follows(
    then: Iterable[PlannedAction], targets: Mapping[int, State], before: Mapping[int, State]
) -> tuple[PlannedAction, ...]:
    """The plan for the new processes (`then`), with what ends with the old ones (`before`) and does not come back."""
    ended = [planned for shard, state in sorted(before.items()) for planned in _ended(shard, state, targets)]
    return (*ended, *(_again(planned, before) for planned in then))


def _ended(shard: int, state: State, targets: Mapping[int, State]) -> Iterable[PlannedAction]:
    """What does not come back, and the CPUs that the new process has otherwise."""
    target = targets.get(shard, State())
    elsewhere = {id_ for other, wanted in targets.items() if other != shard for id_ in wanted.relays}
    for id_ in sorted(state.relays.keys() - target.relays.keys()):
        yield PlannedAction(shard, remove_relay(state.relays[id_], ENDS if id_ not in elsewhere else AGAIN))
    users: dict[str, int] = {name: each.id for each in state.relays.values() for name in (each.port, each.socket)}
    gone = [remove_port(old, users.get(name)) for name, old in difference(target.ports, state.ports).removed.items()]
    gone += [remove_socket(old, users.get(p)) for p, old in difference(target.sockets, state.sockets).removed.items()]
    gone += [remove_worker(each) for each in sorted(state.workers - target.workers, key=lambda each: each.cpu)]
    gone += [add_worker(each) for each in sorted(target.workers - state.workers, key=lambda each: each.cpu)]
    yield from (PlannedAction(shard, action) for action in gone)


def _again(planned: PlannedAction, before: Mapping[int, State]) -> PlannedAction:
    """Says of what is added anew that it was there before, and what of it is otherwise now."""
    action = planned.action
    was = before.get(planned.shard, State()).resources(action.kind).get(action.key)
    if action.verb is not Verb.ADD or was is None or action.after is None:
        return planned
    return replace(planned, action=replace(action, reason=f"{AGAIN}; {_otherwise(was, planned, before)}"))


def _otherwise(was: Resource, planned: PlannedAction, before: Mapping[int, State]) -> str:
    after, changes = planned.action.after, []
    if isinstance(was, Relay) and isinstance(after, Relay):
        changes += [f"VF {was.port} -> {after.port}"] if was.port != after.port else []
        changes += [f"socket {was.socket} -> {after.socket}"] if was.socket != after.socket else []
        pin = before[planned.shard].pins.get(was.id)
        if pin is not None and planned.pin is not None and pin != planned.pin:
            old, new = (f"{each.vf_to_vm}, {each.vm_to_vf}" for each in (pin, planned.pin))
            changes += [f"CPUs {old} -> {new}"]
    elif was != after:
        return "the new one has it as the spec says now"
    return f"the new one has it otherwise: {', '.join(changes)}" if changes else "the new one has it again"
