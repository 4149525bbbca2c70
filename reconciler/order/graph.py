"""Graphs of who waits for whom, of relays or ports: a topological order, and what to take out so that there is one."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping, Set
from itertools import chain, combinations
from typing import TypeVar

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
