"""Several engines' plans in one order: no process takes a device or a socket before the other has dropped it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from reconciler.planning.plan import Plan
from reconciler.planning.prerequisites import Condition, brings, needs
from reconciler.planning.shards import ports_of
from schema.model import Action, Kind, Pin, Port, State, Verb
from schema.vf import device_names

ShardOf = dict[Condition, int]
"""The shard that has what only one process can have: by the condition that the others' actions wait for."""
Stuck = tuple[int, int, str]
"""A shard, the relay on it that has to be taken away first, and why."""


@dataclass(frozen=True, slots=True)
class PlannedAction:
    """One action, the shard that is to carry it out, and the pin that rides with it."""

    shard: int
    action: Action
    pin: Pin | None = None
    held_back: str = ""
    """Why it is not to be carried out although the spec asks for it, as a sentence; empty: it is."""


def alone(todo: Plan, shard: int = 0) -> tuple[PlannedAction, ...]:
    """The actions of one engine's plan."""
    return tuple(PlannedAction(shard, action, todo.pin_of(action)) for action in todo.actions)


def plans_of(planned_actions: Iterable[PlannedAction]) -> dict[int, Plan]:
    """The plan of each shard that has something to do."""
    by_shard: dict[int, list[PlannedAction]] = {}
    for planned in planned_actions:
        by_shard.setdefault(planned.shard, []).append(planned)
    return {
        shard: Plan(tuple(e.action for e in mine), {e.pin.relay: e.pin for e in mine if e.pin is not None})
        for shard, mine in sorted(by_shard.items())
    }


def in_use(states: Mapping[int, State]) -> ShardOf:
    """Which shard has which port, device and socket."""
    found: ShardOf = {}
    for shard, state in states.items():
        devices = (device for port in state.ports.values() for device in device_names(port))
        found |= {("device free", device): shard for device in devices}
        found |= {("port gone", name): shard for name in state.ports}
        found |= {("socket gone", path): shard for path in state.sockets}
    return found


def elsewhere(planned: PlannedAction, shard_of: ShardOf) -> Condition | None:
    """What the action needs that another shard has."""
    return next((each for each in needs(planned.action) if shard_of.get(each, planned.shard) != planned.shard), None)


def release(planned: PlannedAction, shard_of: ShardOf) -> None:
    """Notes what nobody has any more once the action is done."""
    for condition in brings(planned.action):
        if shard_of.get(condition) == planned.shard:
            del shard_of[condition]


class Interleaving:
    """Goes through several plans side by side; each plan keeps its own order, the lowest shard goes first."""

    def __init__(self, plans: Mapping[int, Plan], live: Mapping[int, State], room: tuple[int, ...]) -> None:
        self.done: list[PlannedAction] = []
        self._left = {shard: list(alone(todo, shard)) for shard, todo in sorted(plans.items())}
        self._shard_of = in_use(live)
        self._spare = {s: room[s] - sum(map(ports_of, state.ports.values())) for s, state in live.items()}

    def run(self) -> Stuck | None:
        """Goes as far as it can. None: nothing is left, or nothing can be done about it."""
        while True:
            moved = [left for left in self._left.values() if self._advance(left)]
            if not moved:
                stuck = [self._stuck(planned_actions[0]) for planned_actions in self._left.values() if planned_actions]
                return next((each for each in stuck if each is not None), None)

    def rest(self) -> tuple[PlannedAction, ...]:
        """What could not be ordered."""
        return tuple(planned for left in self._left.values() for planned in left)

    def _advance(self, left: list[PlannedAction]) -> bool:
        """Takes what can be taken from one plan; whether that was anything."""
        count = 0
        for planned in left:
            if self._lacking(planned) is not None or self._too_many(planned):
                break
            self._carry_out(planned)
            count += 1
        del left[:count]
        return count > 0

    def _lacking(self, planned: PlannedAction) -> Condition | None:
        """What the action waits for. VFs are given back last of all anyway."""
        return elsewhere(planned, self._shard_of) if planned.action.kind is not Kind.VF else None

    def _too_many(self, planned: PlannedAction) -> bool:
        after = planned.action.after
        return (
            planned.action.before is None and isinstance(after, Port) and ports_of(after) > self._spare[planned.shard]
        )

    def _carry_out(self, planned: PlannedAction) -> None:
        before, after = planned.action.before, planned.action.after
        release(planned, self._shard_of)
        self._spare[planned.shard] += ports_of(before) if isinstance(before, Port) else 0
        self._spare[planned.shard] -= ports_of(after) if isinstance(after, Port) else 0
        self.done.append(planned)

    def _stuck(self, planned: PlannedAction) -> Stuck | None:
        lacking = self._lacking(planned)
        if lacking is not None:
            shard = self._shard_of[lacking]
            relay = self._updated_before(shard, [a for a in self._actions(shard) if lacking in brings(a)])
            return (shard, relay, f"shard {planned.shard} needs what it releases") if relay is not None else None
        ports = [a for a in self._actions(planned.shard) if a.kind is Kind.PORT and a.after is None]
        relay = self._updated_before(planned.shard, ports)
        reason = "its shard has no port to spare, so it releases its own before it has the other"
        return (planned.shard, relay, reason) if relay is not None else None

    def _actions(self, shard: int) -> list[Action]:
        return [planned.action for planned in self._left[shard]]

    def _updated_before(self, shard: int, actions: Iterable[Action]) -> int | None:
        """The first relay that still is to be given another port or socket, which these actions wait for."""
        needed = {condition for action in actions for condition in needs(action)}
        updates = [a for a in self._actions(shard) if a.kind is Kind.RELAY and a.verb is Verb.UPDATE]
        return min((int(update.key) for update in updates if not needed.isdisjoint(brings(update))), default=None)
