"""What is to be done about a host's hugepages and their mounts: before everything else what others may need, after
everything else what nobody needs any more. Pure, a part of every plan."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from reconciler.resources import mount, pages
from reconciler.resources.diff import difference
from schema.model import PAGE_BYTES, Action, Pages, State


def readied(desired: State, observed: State) -> Iterable[Action]:
    """Pages reserved, then mounts made: one that moves is made at its new place before the old one goes."""
    fresh = difference(desired.pages, observed.pages).added
    yield from (pages.add(pages.goal(wanted, Pages(size, 0))) for size, wanted in fresh.items())
    yield from (
        pages.change(before, after) for before, after in _goals(desired, observed) if pages.grows(before, after)
    )
    mounts = difference(desired.mounts, observed.mounts)
    yield from (mount.change(*pair) for pair in mounts.changed.values())
    yield from (mount.add(wanted) for wanted in mounts.added.values())


def given_back(desired: State, observed: State) -> Iterable[Action]:
    """Mounts taken down, then pages given back."""
    yield from (mount.remove(live) for live in difference(desired.mounts, observed.mounts).removed.values())
    for before, after in _goals(desired, observed):
        if not pages.grows(before, after):
            yield pages.change(before, after) if after.total else pages.remove(before)


def _goals(desired: State, observed: State) -> list[tuple[Pages, Pages]]:
    """The live pages that are to be more, fewer or elsewhere, each with what they are to become."""
    found = difference(desired.pages, observed.pages)
    live = [*found.removed.items(), *((size, before) for size, (before, _) in found.changed.items())]
    return [(before, pages.goal(desired.pages.get(size), before)) for size, before in sorted(live)]


def coming(actions: Iterable[Action], nodes: Collection[int]) -> dict[int, int]:
    """How many bytes of hugepages a plan reserves on each of these NUMA nodes, beyond what is there. What may lie on
    any node is spread evenly, as the kernel does it."""
    found = dict.fromkeys(nodes, 0)
    for action in actions:
        after, before = action.after, action.before
        if not isinstance(after, Pages) or not nodes:
            continue
        live = before if isinstance(before, Pages) else Pages(after.size, 0)
        for node in found:
            if after.nodes:
                more = _at(after.nodes, node) - _at(live.nodes, node)
            else:
                more = (after.total - live.total) // len(found)
            found[node] += max(0, more) * PAGE_BYTES[after.size]
    return found


def _at(counts: Sequence[int], node: int) -> int:
    return counts[node] if node < len(counts) else 0
