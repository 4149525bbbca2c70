"""What to do so that all engine processes of a host together match the spec: which relay goes to which, and in which
order, because a VF or a socket must be released by one process before another can take it. Pure, as the plan of one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from reconciler.observe.actions import arrive_relay, leave_relay, pages_grow
from reconciler.observe.engines import HostSnapshot
from reconciler.planning.after_replacement import follows, seen_afterwards
from reconciler.planning.plan import plan
from reconciler.planning.planned_action import Interleaving, PlannedAction
from reconciler.planning.shards import Division, Homes, allot, costs_of, divide
from schema.model import Action, Key, Kind, Mount, Pages, State, Verb


@dataclass(frozen=True, slots=True)
class HostPlan:
    """Actions in the order in which they are to be carried out."""

    planned_actions: tuple[PlannedAction, ...] = ()
    targets: Mapping[int, State] = field(default_factory=dict)
    """What each shard is to be afterwards; those without relays are those that are no longer needed."""
    missing: Mapping[int, str] = field(default_factory=dict)
    """Shards that are needed and not there, with a sentence: their relays have to wait."""
    follows: tuple[PlannedAction, ...] = ()
    """Where processes are replaced: what is done once the new ones are up. It is planned again by then, as what is
    live may be another."""

    @property
    def actions(self) -> tuple[Action, ...]:
        """Those to be carried out at once."""
        return tuple(planned.action for planned in self.planned_actions)

    @property
    def all_actions(self) -> tuple[Action, ...]:
        """With those that follow."""
        return tuple(planned.action for planned in (*self.planned_actions, *self.follows))

    @property
    def replaced(self) -> frozenset[int]:
        """The shards whose process is ended, to be started anew."""
        engines = (e for e in self.planned_actions if e.action.kind is Kind.ENGINE)
        return frozenset(e.shard for e in engines if e.action.verb is Verb.REPLACE)

    @property
    def several(self) -> bool:
        """Whether shards are worth a word: one alone is not."""
        return len(self.targets) > 1


def plan_host(desired: State, snapshot: HostSnapshot) -> HostPlan:
    """Raises SpecUnfit when the relays can't be divided among engine processes, with the arithmetic."""
    todo = _plan_host(desired, snapshot)
    new = todo.replaced
    if not new:
        return todo
    then = _plan_host(desired, seen_afterwards(todo.planned_actions, new, todo.targets, snapshot))
    before = {shard: snapshot.states[shard] for shard in new if shard in snapshot.states}
    return replace(todo, follows=follows(then.planned_actions, then.targets, before))


def shard_targets(desired: State, snapshot: HostSnapshot) -> dict[int, State]:
    """What each engine process is to be. Raises SpecUnfit as `plan_host`."""
    return _divided(desired, snapshot)[1]


def _divided(desired: State, snapshot: HostSnapshot) -> tuple[Division, dict[int, State]]:
    division = divide(costs_of(desired), snapshot.live, _preferred(desired, snapshot), snapshot.room)
    return division, _targets(desired, division.homes, snapshot)


def _plan_host(desired: State, snapshot: HostSnapshot) -> HostPlan:
    division, targets = _divided(desired, snapshot)
    live = {shard: snapshot.states.get(shard) or _newborn(target) for shard, target in targets.items()}
    able = [shard for shard in targets if shard not in snapshot.silent]
    planned_actions = _planned_actions({s: targets[s] for s in able}, {s: live[s] for s in able}, snapshot.room)
    ordered = _host_last(tuple(_relocated(planned, division) for planned in planned_actions))
    missing = {shard: _why(shard, snapshot) for shard in targets if shard not in snapshot.observations}
    return HostPlan(ordered, targets, missing)


def _why(shard: int, snapshot: HostSnapshot) -> str:
    return snapshot.silent.get(shard, missing_words(shard))


def missing_words(shard: int) -> str:
    """What to say of a shard that is needed and not there."""
    start = f"vio4wd engine --shard {shard}"
    return f"shard {shard} is needed and does not run; unless vio4wd run starts it, do so with: {start}"


def _newborn(target: State) -> State:
    """What an engine is that starts with the parameters of this target."""
    return State(engine=target.engine, workers=target.workers)


def _preferred(desired: State, snapshot: HostSnapshot) -> Homes:
    """Where relays that are not live would best be: where they were, or where their socket waits."""
    sockets = {path: shard for shard, state in snapshot.states.items() for path in state.sockets}
    waiting = {id_: sockets[relay.socket] for id_, relay in desired.relays.items() if relay.socket in sockets}
    return {**waiting, **snapshot.homes}


def _targets(desired: State, homes: Homes, snapshot: HostSnapshot) -> dict[int, State]:
    """What each shard is to be: the needed ones, shard 0, and those that still have something to release."""
    in_use = [shard for shard, state in snapshot.states.items() if state.relays or state.ports or state.sockets]
    cpus = allot(desired, homes, snapshot.states)
    paths = _sockets(desired, homes, snapshot)
    shards = sorted({0, *homes.values(), *in_use})
    return {shard: _target(desired, shard, homes, cpus.get(shard, frozenset()), paths) for shard in shards}


def _sockets(desired: State, homes: Homes, snapshot: HostSnapshot) -> dict[str, int]:
    """The shard of each socket: its relay's; that of one without a relay is where it is already, else the first."""
    live = {path: shard for shard, state in snapshot.states.items() for path in state.sockets}
    unused = {path: live.get(path, 0) for path in desired.sockets}
    return unused | {relay.socket: homes[id_] for id_, relay in desired.relays.items()}


def _target(desired: State, shard: int, homes: Homes, cpus: frozenset[int], paths: Mapping[str, int]) -> State:
    relays = {id_: relay for id_, relay in desired.relays.items() if homes[id_] == shard}
    names = {relay.port for relay in relays.values()}
    return replace(
        desired,
        workers=frozenset(worker for worker in desired.workers if worker.cpu in cpus),
        ports={name: port for name, port in desired.ports.items() if name in names},
        sockets={path: socket for path, socket in desired.sockets.items() if paths[path] == shard},
        relays=relays,
        pins={id_: pin for id_, pin in desired.pins.items() if id_ in relays},
        pages=desired.pages if shard == 0 else {},
        mounts=desired.mounts if shard == 0 else {},
    )


def _planned_actions(
    targets: Mapping[int, State], live: Mapping[int, State], room: tuple[int, ...]
) -> tuple[PlannedAction, ...]:
    """All plans in one order. Relays that stand in the way of another process's are removed first and added again, one
    after the other until there is an order."""
    broken: dict[int, dict[int, str]] = {shard: {} for shard in targets}
    while True:
        plans = {shard: plan(target, live[shard], broken[shard]) for shard, target in targets.items()}
        merge = Interleaving(plans, live, room)
        stuck = merge.run()
        if stuck is None or stuck[1] in broken[stuck[0]]:
            return (*merge.done, *merge.rest())
        shard, relay, reason = stuck
        broken[shard][relay] = reason


def _host_last(planned_actions: tuple[PlannedAction, ...]) -> tuple[PlannedAction, ...]:
    """What is the host's is given back after all engines have released it: each VF once, by the engine that polled it,
    then mounts and pages."""
    others = tuple(planned for planned in _vfs_once(planned_actions) if not _shrinks_memory(planned))
    return (*_vfs_last(others), *filter(_shrinks_memory, planned_actions))


def _shrinks_memory(planned: PlannedAction) -> bool:
    before, after = planned.action.before, planned.action.after
    if isinstance(before, Pages) and isinstance(after, Pages):
        return not pages_grow(before, after)
    return after is None and isinstance(before, Pages | Mount)


def _vfs_once(planned_actions: tuple[PlannedAction, ...]) -> Iterable[PlannedAction]:
    """Each VF is bound for the relay that polls it; else, once, for nobody in particular."""
    binds = [planned for planned in planned_actions if planned.action.kind is Kind.VF and not _gives_back(planned)]
    chosen = {e.action.key: e for e in sorted(binds, key=lambda e: e.action.relay is not None)}
    return (planned for planned in planned_actions if planned not in binds or planned is chosen[planned.action.key])


def _vfs_last(planned_actions: tuple[PlannedAction, ...]) -> tuple[PlannedAction, ...]:
    given_back: dict[Key, PlannedAction] = {}
    for planned in planned_actions:
        if _gives_back(planned):
            known = given_back.get(planned.action.key)
            given_back[planned.action.key] = planned if known is None or known.action.relay is None else known
    return (*(planned for planned in planned_actions if not _gives_back(planned)), *given_back.values())


def _gives_back(planned: PlannedAction) -> bool:
    return planned.action.kind is Kind.VF and planned.action.verb is Verb.REMOVE


def _relocated(planned: PlannedAction, division: Division) -> PlannedAction:
    """Says of a relay that changes its process what that costs, and why."""
    action = planned.action
    moved = division.moved.get(action.relay) if action.relay is not None else None
    if moved is None or action.kind is not Kind.RELAY:
        return planned
    if action.verb is Verb.REMOVE and planned.shard == moved[0]:
        return replace(planned, action=leave_relay(action, moved[1]))
    if action.verb is Verb.ADD and planned.shard == moved[1]:
        return replace(planned, action=arrive_relay(action, moved[0]))
    return planned


def join(states: Iterable[State]) -> State:
    """What several engines are to be, as one target; the engine's own parameters are the first one's."""
    first, *others = states
    whole = first
    for state in others:
        whole = replace(
            whole,
            workers=whole.workers | state.workers,
            ports={**whole.ports, **state.ports},
            sockets={**whole.sockets, **state.sockets},
            relays={**whole.relays, **state.relays},
            pins={**whole.pins, **state.pins},
            vfs={**whole.vfs, **state.vfs},
            pages={**whole.pages, **state.pages},
            mounts={**whole.mounts, **state.mounts},
        )
    return whole


def as_desired(states: Iterable[State]) -> State:
    """What is live on several engines, as something that can be wanted: of memory and mounts what vio4wd has made,
    because what the host has of its own is not for vio4wd to bring back."""
    live = join(states)
    return replace(
        live,
        pages={size: pages for size, pages in live.pages.items() if sum(pages.nodes) > sum(pages.found)},
        mounts={path: mount for path, mount in live.mounts.items() if mount.ours},
    )
