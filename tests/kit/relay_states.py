"""States of relays with all that these need."""

from __future__ import annotations

from schema.model import Pin, Port, Relay, Resource, Socket, State, Worker


def pairs(*relays: Relay, cpus: tuple[int, ...] = (1, 2), pins: tuple[Pin, ...] = ()) -> State:
    ports = {r.port for r in relays}
    sockets = {r.socket for r in relays}
    rest: list[Resource] = [*(Port(p) for p in ports), *(Socket(s) for s in sockets), *(Worker(c) for c in cpus)]
    return State.of([*relays, *rest, *pins])
