"""How VFs, bonds and sockets change hands where the usual order of updates would wait for itself.

No port takes a device before the port that has it drops it, and no relay a port or socket before the other relay has
left it. Usually an order is enough. Where some wait for each other in a circle, one relay is taken away first and added
again at the end, or one bond made anew: that costs one action per circle, and no way costs less, since with one action
per relay somebody had to be first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, replace

from reconciler.order.graph import cheapest_cut, order, without
from reconciler.order.prerequisites import firsts
from reconciler.resources.actions import BROKEN, add_port, change_port, change_relay, remove_port
from reconciler.resources.diff import Difference, difference
from schema.model import Action, Kind, Port, Relay, State

TAKEN = "its VF becomes another relay's or a bond's member, and must be detached first"
CIRCLE = "bonds exchange members in a circle, and one must be removed first"


@dataclass(frozen=True, slots=True)
class Handover:
    """What becomes of ports and relays so that nothing waits for itself."""

    ports: Difference[str, Port]
    """Those made anew are both removed and added. Of those that change, each stands after those whose devices it
    takes."""
    reasons: Mapping[str, str]
    """Why ports are removed although the spec may have them."""
    updated: tuple[int, ...]
    """Relays to be changed in place, in this order."""
    broken: Mapping[int, str]
    """Relays that are removed first and added again at the end, with the reason."""


def handover(desired: State, observed: State, repinned: Set[int], broken: Mapping[int, str]) -> Handover:
    """Orders the changes, and breaks what can't be ordered. `repinned` relays move to other CPUs anyway, which breaking
    them does at no cost; `broken` ones are removed first and added again whatever their changes need."""
    anew, ports = _ports(difference(desired.ports, observed.ports), desired, observed, repinned)
    stuck = [id_ for id_, relay in observed.relays.items() if relay.port in anew and _stays(relay, desired)]
    broken = {**dict.fromkeys(stuck, CIRCLE), **broken}
    changed = difference(desired.relays, observed.relays).changed
    updates = [change_relay(*pair) for id_, pair in changed.items() if id_ not in broken]
    first = firsts([*_actions(ports), *updates])
    waits = {int(each.key): set(_relays_before(each, first)) for each in updates}
    cut = cheapest_cut(waits, lambda id_: int(id_ not in repinned))
    taken = {str(each.key) for others in first.values() for each in others if each.kind is Kind.PORT and not each.after}
    why = {id_: TAKEN if observed.relays[id_].port in taken else BROKEN for id_ in sorted(cut)}
    reasons = {**dict.fromkeys(taken, TAKEN), **dict.fromkeys(anew, CIRCLE)}
    return Handover(ports, reasons, order(without(waits, cut)), {**why, **broken})


def _stays(relay: Relay, desired: State) -> bool:
    """Whether it is to have the port that it has."""
    wanted = desired.relays.get(relay.id)
    return wanted is not None and wanted.port == relay.port


def _ports(
    ports: Difference[str, Port], desired: State, observed: State, repinned: Set[int]
) -> tuple[set[str], Difference[str, Port]]:
    """Which ports are made anew, and what becomes of all then."""
    anew = cheapest_cut(_waits(ports.changed), lambda name: _cost(name, desired, observed, repinned))
    changed = {name: pair for name, pair in ports.changed.items() if name not in anew}
    return anew, replace(
        ports,
        added=dict(sorted({**ports.added, **{name: ports.changed[name][1] for name in anew}}.items())),
        removed=dict(sorted({**ports.removed, **{name: ports.changed[name][0] for name in anew}}.items())),
        changed={name: changed[name] for name in order(_waits(changed))},
    )


def _waits(changed: Mapping[str, tuple[Port, Port]]) -> dict[str, set[str]]:
    """Which ports each one takes devices of."""
    first = firsts(change_port(*pair, None) for pair in changed.values())
    return {str(action.key): {str(each.key) for each in others} for action, others in first.items()}


def _cost(name: str, desired: State, observed: State, repinned: Set[int]) -> int:
    """How many actions it takes to make this port anew instead of changing it, its relay's included."""
    relay = next((relay for relay in observed.relays.values() if relay.port == name), None)
    if relay is None or not _stays(relay, desired):
        return 1
    return 3 - (desired.relays[relay.id] != relay) - (relay.id in repinned)


def _actions(ports: Difference[str, Port]) -> Iterator[Action]:
    yield from (remove_port(port, None) for port in ports.removed.values())
    yield from (change_port(*pair, None) for pair in ports.changed.values())
    yield from (add_port(port, None) for port in ports.added.values())


def _relays_before(action: Action, first: Mapping[Action, Iterable[Action]]) -> Iterator[int]:
    """The relays whose updates have to come first, also because of a port; maybe itself, which then can't be done."""
    for each in first[action]:
        if each.kind is Kind.RELAY:
            yield int(each.key)
        else:
            yield from _relays_before(each, first)
