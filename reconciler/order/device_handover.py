"""How devices change hands among VFs and bonds: no port takes a device before the one that has it lets it go.

A bond lets go of members in place, so usually an order is enough. Where bonds exchange members in a circle, one of them
is made anew: it goes first, with its relay, and comes again at the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, replace

from reconciler.order.graph import Waits, cheapest_cut, order
from reconciler.resources.diff import Difference
from schema.model import Port, State

TAKEN = "its VF becomes another relay's or a bond's member, and has to be let go first"
CIRCLE = "bonds exchange members in a circle, and one has to let go first"


@dataclass(frozen=True, slots=True)
class Handover:
    """What becomes of the ports, and what that asks of relays."""

    ports: Difference[str, Port]
    """Of those that change, each stands after those whose devices it takes."""
    givers: Mapping[str, frozenset[str]]
    """For each port that comes or changes, those that have to let go of a device before."""
    waits: Waits[int]
    """For each relay those that have to leave their port before the one that it is to have can come; maybe itself."""
    again: frozenset[str]
    """Ports that are made anew."""

    @property
    def taken(self) -> frozenset[str]:
        """The ports that go because another one takes their device."""
        return frozenset().union(*self.givers.values()) & self.ports.removed.keys()


def devices(port: Port) -> frozenset[str]:
    """The devices that only this port can have."""
    members = (member.partition(",")[0] for member in port.members)
    return frozenset(members) if port.bond_mode else frozenset((port.name,))


def handover(ports: Difference[str, Port], desired: State, observed: State, repinned: Set[int]) -> Handover:
    """Orders the changes, and breaks what cannot be ordered. `repinned` relays move to other CPUs anyway."""
    circles = _givers(replace(ports, added={}, removed={}))
    again = cheapest_cut(circles, lambda name: _cost(name, desired, observed, repinned))
    parts = _made_anew(ports, again)
    givers = _givers(parts)
    holders = {relay.port: id_ for id_, relay in observed.relays.items()}
    leavers = {name: frozenset(_leavers(name, givers, parts, holders)) for name in parts.added}
    waits = {id_: leavers[relay.port] for id_, relay in desired.relays.items() if relay.port in leavers}
    return Handover(parts, givers, waits, frozenset(again))


def _givers(ports: Difference[str, Port]) -> dict[str, frozenset[str]]:
    """Which ports hold what each one newly takes."""
    before = {**ports.removed, **{name: before for name, (before, _) in ports.changed.items()}}
    after = {**ports.added, **{name: after for name, (_, after) in ports.changed.items()}}
    user = {device: name for name, port in before.items() for device in devices(port)}
    found = {name: {user[device] for device in devices(port) if device in user} for name, port in after.items()}
    # One that changes has what it keeps already; one that goes and comes again has to have gone.
    return {name: frozenset(givers - (ports.changed.keys() & {name})) for name, givers in found.items()}


def _cost(name: str, desired: State, observed: State, repinned: Set[int]) -> int:
    """How many actions it takes to make this port anew instead of changing it, its relay's included."""
    relay = next((relay for relay in observed.relays.values() if relay.port == name), None)
    wanted = desired.relays.get(relay.id) if relay is not None else None
    if relay is None or wanted is None or wanted.port != name:
        return 1
    return 3 - (wanted != relay) - (relay.id in repinned)


def _made_anew(ports: Difference[str, Port], again: Set[str]) -> Difference[str, Port]:
    changed = {name: pair for name, pair in ports.changed.items() if name not in again}
    split = {name: ports.changed[name] for name in again}
    return replace(
        ports,
        added=dict(sorted({**ports.added, **{name: after for name, (_, after) in split.items()}}.items())),
        removed=dict(sorted({**ports.removed, **{name: before for name, (before, _) in split.items()}}.items())),
        changed={name: changed[name] for name in order(_givers(replace(ports, added={}, removed={}, changed=changed)))},
    )


def _leavers(
    name: str, givers: Mapping[str, frozenset[str]], ports: Difference[str, Port], holders: Mapping[str, int]
) -> Iterator[int]:
    """The relays on ports that have to go before this one can come or change."""
    for giver in givers[name]:
        if giver in ports.changed:
            yield from _leavers(giver, givers, ports, holders)
        elif giver in holders:
            yield holders[giver]
