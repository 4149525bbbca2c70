"""What changes hands between relays and bonds, and in which order, so that nobody needs what another still has.

First graphs of who waits for whom: a topological order, and what to take out so that there is one; then their use."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from itertools import chain, combinations
from typing import TypeVar

from reconciler.observe.actions import BROKEN, add_port, change_port, change_relay, remove_port
from reconciler.observe.diff import Difference, difference
from reconciler.planning.prerequisites import firsts
from schema.model import Action, Kind, Port, Relay, State

TAKEN = "its VF becomes another relay's or a bond's member, and must be detached first"
CIRCLE = "bonds exchange members in a circle, and one must be removed first"

K = TypeVar("K", int, str)
Waits = Mapping[K, Set[K]]
"""For each node those that come before it; itself, where it can't come at all."""

EXACT = 10
"""Components of more are cut greedily: the smallest cut is an NP-hard question, and 2^10 cuts take milliseconds."""


def order(waits: Waits[K]) -> tuple[K, ...]:
    """The topological order, the smallest first where there is a choice. What waits in a circle, or for something that
    does, is left out."""
    missing = {one: len(others) for one, others in waits.items()}
    waiting: dict[K, list[K]] = {one: [] for one in waits}
    for one, others in waits.items():
        for other in others:
            waiting[other].append(one)
    ready = sorted(one for one, count in missing.items() if count == 0)
    ordered: list[K] = []
    while ready:
        one = heapq.heappop(ready)
        ordered.append(one)
        for other in waiting[one]:
            missing[other] -= 1
            if missing[other] == 0:
                heapq.heappush(ready, other)
    return tuple(ordered)


def without(waits: Waits[K], gone: Set[K]) -> dict[K, set[K]]:
    """The graph without these nodes."""
    return {one: set(others - gone) for one, others in waits.items() if one not in gone}


def cheapest_cut(waits: Waits[K], cost: Callable[[K], int]) -> set[K]:
    """A feedback vertex set, which is what to take out so that nothing waits in a circle: the cheapest together, then
    the fewest, then the smallest (exactly for components of up to `EXACT` nodes)."""
    cut: set[K] = set()
    for component in _components(waits):
        inner = without(waits, waits.keys() - component)
        cut |= _exact(inner, cost) if len(component) <= EXACT else _greedy(inner, cost)
    return cut


def _free(waits: Waits[K]) -> bool:
    return len(order(waits)) == len(waits)


def _components(waits: Waits[K]) -> list[set[K]]:
    """The strongly connected ones, sorted by their smallest nodes."""
    reach = {one: _reachable(waits, one) for one in waits} if not _free(waits) else {}
    components = {frozenset(r for r in reach[one] if one in reach[r]) for one in reach if one in reach[one]}
    return [set(component) for component in sorted(components, key=min)]


def _reachable(waits: Waits[K], start: K) -> set[K]:
    seen: set[K] = set()
    ahead = list(waits[start])
    while ahead:
        one = ahead.pop()
        if one not in seen:
            seen.add(one)
            ahead.extend(waits[one])
    return seen


def _exact(waits: Waits[K], cost: Callable[[K], int]) -> set[K]:
    members = sorted(waits)
    cuts: Iterable[tuple[K, ...]] = chain.from_iterable(combinations(members, size) for size in range(len(members) + 1))
    by_cost = sorted(cuts, key=lambda cut: (sum(map(cost, cut)), len(cut)))
    return set(next(cut for cut in by_cost if _free(without(waits, set(cut)))))


def _greedy(waits: Waits[K], cost: Callable[[K], int]) -> set[K]:
    """The cheap ones first, of these who stands in the most circles; whoever turns out not to be needed is spared."""
    cut: set[K] = set()
    while not _free(left := without(waits, cut)):
        wanted = {one: sum(one in others for others in left.values()) for one in left}
        cut.add(min(sorted(left), key=lambda one: (cost(one) > 0, -wanted[one] * len(left[one]))))
    for one in sorted(cut, key=lambda one: (-cost(one), one)):
        if _free(without(waits, cut - {one})):
            cut.remove(one)
    return cut


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
