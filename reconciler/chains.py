"""In which order relays can take over each other's ports and sockets.

The engine refuses a port or socket that another relay holds. So a relay that wants what another one leaves waits for
it; relays that wait for each other in a circle need one of them to be taken away first and added again at the end. That
costs one action per circle, and no way costs less: with one action per relay somebody had to be first.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from itertools import combinations

from schema.model import Relay

Waits = Mapping[int, Set[int]]
"""For each relay the relays that must have moved before it can."""

EXACT_RELAYS = 10
"""Knots of more relays than this are cut greedily: the smallest cut is an NP-hard question, and 2^10 cuts take
milliseconds."""


@dataclass(frozen=True, slots=True)
class Moves:
    """How to carry out the updates of relays."""

    broken: tuple[int, ...]
    """To be removed first and added again at the end, sorted."""
    ordered: tuple[int, ...]
    """To be updated, in this order."""


def moves(changed: Mapping[int, tuple[Relay, Relay]], repinned: Set[int]) -> Moves:
    """The order of these updates (before, after). `repinned` also change their pin: breaking one of them costs
    nothing, because its new pin rides along when it is added again."""
    waits = _waits(changed)
    broken: set[int] = set()
    for knot in _knots(waits):
        inner = _without(waits, waits.keys() - knot)
        broken |= _cut(inner, repinned & knot)
    return Moves(tuple(sorted(broken)), _order(_without(waits, broken)))


def _waits(changed: Mapping[int, tuple[Relay, Relay]]) -> dict[int, set[int]]:
    ports = {before.port: relay for relay, (before, _) in changed.items()}
    sockets = {before.socket: relay for relay, (before, _) in changed.items()}
    waits: dict[int, set[int]] = {}
    for relay, (_, after) in changed.items():
        holders = {ports.get(after.port), sockets.get(after.socket)}
        waits[relay] = {holder for holder in holders if holder is not None and holder != relay}
    return waits


def _without(waits: Waits, gone: Set[int]) -> dict[int, set[int]]:
    return {relay: set(others - gone) for relay, others in waits.items() if relay not in gone}


def _order(waits: Waits) -> tuple[int, ...]:
    """Every relay after those that it waits for, the smallest id first where there is a choice. Relays in a circle,
    and those that wait for one, are left out."""
    missing = {relay: len(others) for relay, others in waits.items()}
    waiting: dict[int, list[int]] = {relay: [] for relay in waits}
    for relay, others in waits.items():
        for other in others:
            waiting[other].append(relay)
    ready = sorted(relay for relay, count in missing.items() if count == 0)
    ordered: list[int] = []
    while ready:
        relay = heapq.heappop(ready)
        ordered.append(relay)
        for other in waiting[relay]:
            missing[other] -= 1
            if missing[other] == 0:
                heapq.heappush(ready, other)
    return tuple(ordered)


def _free(waits: Waits) -> bool:
    return len(_order(waits)) == len(waits)


def _knots(waits: Waits) -> list[set[int]]:
    """The groups of relays that wait for each other, directly or around corners; sorted by smallest id."""
    reach = {relay: _reachable(waits, relay) for relay in waits} if not _free(waits) else {}
    knots = {frozenset(r for r in reach[relay] if relay in reach[r]) for relay in reach if relay in reach[relay]}
    return [set(knot) for knot in sorted(knots, key=min)]


def _reachable(waits: Waits, start: int) -> set[int]:
    seen: set[int] = set()
    ahead = list(waits[start])
    while ahead:
        relay = ahead.pop()
        if relay not in seen:
            seen.add(relay)
            ahead.extend(waits[relay])
    return seen


def _cut(waits: Waits, cheap: Set[int]) -> set[int]:
    """The relays to break so that nobody waits in a circle: as few dear ones as possible, then few cheap ones."""
    dear = _smallest(_without(waits, cheap), waits.keys() - cheap)
    return dear | _smallest(_without(waits, dear), cheap - dear)


def _smallest(waits: Waits, candidates: Iterable[int]) -> set[int]:
    """The smallest set of candidates whose absence frees the rest (exact for small knots); empty if they are free."""
    choice = sorted(set(candidates) & waits.keys())
    sizes = range(len(choice) + 1) if len(waits) <= EXACT_RELAYS else range(2)
    for size in sizes:
        for cut in combinations(choice, size):
            if _free(_without(waits, set(cut))):
                return set(cut)
    return _greedy(waits, choice)


def _greedy(waits: Waits, candidates: list[int]) -> set[int]:
    cut: set[int] = set()
    while not _free(left := _without(waits, cut)):
        wanted = {relay: sum(relay in others for others in left.values()) for relay in left}
        cut.add(max((r for r in candidates if r in left), key=lambda r: (wanted[r] * len(left[r]), -r)))
    for relay in sorted(cut):
        if _free(_without(waits, cut - {relay})):
            cut.remove(relay)
    return cut
