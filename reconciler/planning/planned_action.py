"""Several engines' plans in one order: no process takes a VF or a socket before the other has let it go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from reconciler.planning.plan import Plan
from reconciler.planning.shards import ports_of
from schema.model import Action, Kind, Pin, Port, Relay, Socket, State

Place = tuple[Kind, str]
"""A port or a socket by name: only one process can have it."""
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
    """The errands of one engine's plan."""
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


def taken(action: Action) -> Place | None:
    """The port or socket that the action brings into its process."""
    return _place(action.after) if action.before is None else None


def freed(action: Action) -> Place | None:
    """The port or socket that the action lets go."""
    return _place(action.before) if action.after is None else None


def _place(resource: object) -> Place | None:
    match resource:
        case Port(name=name):
            return Kind.PORT, name
        case Socket(path=path):
            return Kind.SOCKET, path
    return None


def places(states: Mapping[int, State]) -> dict[Place, int]:
    """Which shard has which port and socket."""
    ports: dict[Place, int] = {(Kind.PORT, name): shard for shard, state in states.items() for name in state.ports}
    return ports | {(Kind.SOCKET, path): shard for shard, state in states.items() for path in state.sockets}


class Interleaving:
    """Goes through several plans side by side; each plan keeps its own order, the lowest shard goes first."""

    def __init__(self, plans: Mapping[int, Plan], live: Mapping[int, State], room: tuple[int, ...]) -> None:
        self.done: list[PlannedAction] = []
        self._live = live
        self._left = {shard: list(alone(todo, shard)) for shard, todo in sorted(plans.items())}
        self._shard_of = places(live)
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
            if self._elsewhere(planned) is not None or self._too_many(planned):
                break
            self._carry_out(planned)
            count += 1
        del left[:count]
        return count > 0

    def _elsewhere(self, planned: PlannedAction) -> int | None:
        place = taken(planned.action)
        shard = self._shard_of.get(place) if place is not None else None
        return shard if shard != planned.shard else None

    def _too_many(self, planned: PlannedAction) -> bool:
        after = planned.action.after
        return (
            planned.action.before is None and isinstance(after, Port) and ports_of(after) > self._spare[planned.shard]
        )

    def _carry_out(self, planned: PlannedAction) -> None:
        before, after = planned.action.before, planned.action.after
        place, gone = taken(planned.action), freed(planned.action)
        if place is not None:
            self._shard_of[place] = planned.shard
        if gone is not None and self._shard_of.get(gone) == planned.shard:
            del self._shard_of[gone]
        self._spare[planned.shard] += ports_of(before) if isinstance(before, Port) else 0
        self._spare[planned.shard] -= ports_of(after) if isinstance(after, Port) else 0
        self.done.append(planned)

    def _stuck(self, planned: PlannedAction) -> Stuck | None:
        holder = self._elsewhere(planned)
        if holder is not None:
            place = taken(planned.action)
            relay = next((r for r in self._updated(holder) if place in _places_of(r)), None)
            return (holder, relay.id, f"shard {planned.shard} needs what it lets go") if relay else None
        lets_go = [r for r in self._updated(planned.shard) if self._frees_port(planned.shard, r)]
        reason = "its shard has no port to spare, so it lets go of its own before it has the other"
        return (planned.shard, lets_go[0].id, reason) if lets_go else None

    def _updated(self, shard: int) -> list[Relay]:
        """Relays, as they are, that still are to be given another port or socket."""
        actions = [planned.action for planned in self._left[shard]]
        return sorted((a.before for a in actions if isinstance(a.before, Relay) and a.after), key=lambda r: r.id)

    def _frees_port(self, shard: int, relay: Relay) -> bool:
        return any(freed(planned.action) == (Kind.PORT, relay.port) for planned in self._left[shard])


def _places_of(relay: Relay) -> tuple[Place, Place]:
    return (Kind.PORT, relay.port), (Kind.SOCKET, relay.socket)
