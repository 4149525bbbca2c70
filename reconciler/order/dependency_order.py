"""Actions in their usual order, except where one needs what only a later one sets free or brings: that one is drawn
forward, with whatever it needs itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from schema.model import Action, Key, Kind, Port, Relay, Socket, State

Name = tuple[Kind, Key]


class DependencyOrder:
    """One plan's actions. `givers`: for each port those whose devices it takes."""

    def __init__(self, actions: Iterable[Action], observed: State, givers: Mapping[str, frozenset[str]]) -> None:
        self._actions = tuple(actions)
        self._givers = givers
        self._ports = {relay.port: id_ for id_, relay in observed.relays.items()}
        self._sockets = {relay.socket: id_ for id_, relay in observed.relays.items()}
        self._comes = {(a.kind, a.key): a for a in self._actions if a.before is None}
        changed = {(a.kind, a.key): a for a in self._actions if a.before is not None and a.after is not None}
        self._leaves = {**changed, **{(a.kind, a.key): a for a in self._actions if a.after is None}}
        self._done: dict[tuple[Name, bool], Action] = {}

    def ordered(self) -> tuple[Action, ...]:
        for action in self._actions:
            self._take(action)
        return tuple(self._done.values())

    def _take(self, action: Action) -> None:
        mark = ((action.kind, action.key), action.after is None)
        if mark in self._done:
            return
        for first in self._needs(action):
            if first is not None and first is not action:
                self._take(first)
        self._done[mark] = action

    def _needs(self, action: Action) -> Iterator[Action | None]:
        match action.before, action.after:
            case Port(name=name), None:
                yield self._leaves.get((Kind.RELAY, self._ports.get(name, -1)))
            case Socket(path=path), None:
                yield self._leaves.get((Kind.RELAY, self._sockets.get(path, -1)))
            case _, Port(name=name):
                yield from (self._leaves.get((Kind.PORT, giver)) for giver in sorted(self._givers.get(name, ())))
            case _, Relay(port=port, socket=path):
                holders = {self._ports.get(port, action.key), self._sockets.get(path, action.key)} - {action.key}
                yield from (self._leaves.get((Kind.RELAY, holder)) for holder in sorted(holders))
                yield from (self._comes.get((Kind.PORT, port)), self._comes.get((Kind.SOCKET, path)))
