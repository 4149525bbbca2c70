"""States of relays with all that these need."""

from __future__ import annotations

from schema.model import Engine, Pin, Port, Relay, Resource, Socket, State, Worker


def pairs(*relays: Relay, cpus: tuple[int, ...] = (1, 2), pins: tuple[Pin, ...] = ()) -> State:
    ports = {r.port for r in relays}
    sockets = {r.socket for r in relays}
    rest: list[Resource] = [*(Port(p) for p in ports), *(Socket(s) for s in sockets), *(Worker(c) for c in cpus)]
    return State.of([*relays, *rest, *pins])


def state(*ids: int, cpus: tuple[int, ...] = (1, 2), pins: dict[int, int] | None = None, main_cpu: int = 0) -> State:
    """Relays with a port and a socket of their own, pinned to CPU 1 unless told otherwise."""
    places = dict.fromkeys(ids, 1) | (pins or {})
    return State.of(
        [
            Engine(main_cpu=main_cpu),
            *(Worker(cpu) for cpu in cpus),
            *(Port(f"net_null{i}") for i in ids),
            *(Socket(f"/tmp/{i}.sock") for i in ids),
            *(Relay(i, f"net_null{i}", f"/tmp/{i}.sock") for i in ids),
            *(Pin(i, places[i], places[i]) for i in ids),
        ]
    )


Bonds = dict[int, int]
"""Relay id to the number of its bond's members."""


def wanted(
    *ids: int,
    cpus: tuple[int, ...] = (1, 2),
    pins: dict[int, int] | None = None,
    bonds: Bonds | None = None,
    idle: str = "adaptive",
    shift: int = 0,
) -> State:
    """Relays with a socket of their own, and the port of relay `id + shift`."""
    members = {id_: tuple(f"0000:{id_:02x}:00.{n}" for n in range(count)) for id_, count in (bonds or {}).items()}
    resources: list[Resource] = [Engine(idle=idle), *(Worker(cpu) for cpu in cpus)]
    for index, id_ in enumerate(ids):
        other = ids[(index + shift) % len(ids)]
        resources += [Port(f"net_null{id_}", members=members.get(id_, ())), Socket(f"/tmp/{id_}.sock")]
        resources.append(Relay(id_, f"net_null{other}", f"/tmp/{id_}.sock"))
    resources += [Pin(id_, cpu, cpu) for id_, cpu in (pins or {}).items()]
    return State.of(resources)
