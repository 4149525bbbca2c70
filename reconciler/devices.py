"""How devices change hands among VFs and bonds: no port takes a device before the one that has it lets it go.

A bond lets go of members in place, so usually an order is enough. Where it is not, a relay is taken away first and
added again: its port has to go before another takes its device, or bonds exchange members in a circle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from reconciler.match import Difference
from schema.model import Port, State

TAKEN = "its VF becomes another relay's or a bond's member, and has to be let go first"
CIRCLE = "bonds exchange members in a circle, and one has to let go first"


@dataclass(frozen=True, slots=True)
class Handover:
    """What becomes of the ports, in an order in which every device is free when it is taken."""

    ports: Difference[str, Port]
    let_go: Mapping[int, str]
    """Relays to be taken away first and added again, with the reason."""


def devices(port: Port) -> frozenset[str]:
    """The devices that only this port can have."""
    members = (member.partition(",")[0] for member in port.members)
    return frozenset(members) if port.bond_mode else frozenset((port.name,))


def handover(ports: Difference[str, Port], desired: State, observed: State) -> Handover:
    """Orders the changes, and breaks what cannot be ordered."""
    order, circles = _ordered(ports)
    changed = {name: ports.changed[name] for name in order}
    split = {name: ports.changed[name] for name in circles}
    wanted = frozenset().union(
        *(devices(after) for _, after in ports.changed.values()), *map(devices, ports.added.values())
    )
    taken = {name for name, port in ports.removed.items() if devices(port) & wanted}
    return Handover(
        replace(
            ports,
            added=dict(sorted({**ports.added, **{name: after for name, (_, after) in split.items()}}.items())),
            removed=dict(sorted({**ports.removed, **{name: before for name, (before, _) in split.items()}}.items())),
            changed=changed,
        ),
        {
            id_: CIRCLE if relay.port in split else TAKEN
            for id_, relay in observed.relays.items()
            if id_ in desired.relays and relay.port in (taken | split.keys())
        },
    )


def _ordered(ports: Difference[str, Port]) -> tuple[list[str], list[str]]:
    """The changed ports, those that let go first; and those that have to be split so that there is an order."""
    held = {device: name for name, (before, _) in ports.changed.items() for device in devices(before)}
    waits = {
        name: {held[device] for device in devices(after) if held.get(device, name) != name}
        for name, (_, after) in ports.changed.items()
    }
    order: list[str] = []
    circles: list[str] = []
    while waits:
        ready = sorted(name for name, others in waits.items() if not others)
        chosen = ready[0] if ready else min(waits)
        (order if ready else circles).append(chosen)
        del waits[chosen]
        for others in waits.values():
            others.discard(chosen)
    return order, circles
