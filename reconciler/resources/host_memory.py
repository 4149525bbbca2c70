"""Hugepages and their mounts, which the host has once: made before anything needs them, given back when nobody does.

Pages that a host kept before vio4wd count for what a spec wants, and stay whatever it says; so does a mount that
vio4wd has not made.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import zip_longest

from reconciler.resources.diff import difference, pages_to_be
from schema.model import PAGE_BYTES, Action, Impact, Kind, Mount, Pages, State, Verb


def readied(desired: State, observed: State) -> Iterable[Action]:
    """Pages reserved, then mounts made: one that moves is made at its new place before the old one goes."""
    fresh = difference(desired.pages, observed.pages).added
    yield from (add_pages(pages_to_be(wanted, Pages(size, 0))) for size, wanted in fresh.items())
    yield from (change_pages(before, after) for before, after in _goals(desired, observed) if pages_grow(before, after))
    mounts = difference(desired.mounts, observed.mounts)
    yield from (change_mount(*pair) for pair in mounts.changed.values())
    yield from (add_mount(wanted) for wanted in mounts.added.values())


def given_back(desired: State, observed: State) -> Iterable[Action]:
    """Mounts taken down, then pages given back."""
    yield from (remove_mount(live) for live in difference(desired.mounts, observed.mounts).removed.values())
    for before, after in _goals(desired, observed):
        if not pages_grow(before, after):
            yield change_pages(before, after) if after.total else remove_pages(before)


def _goals(desired: State, observed: State) -> list[tuple[Pages, Pages]]:
    """The live pages that are to be more, fewer or elsewhere, each with what they are to become."""
    found = difference(desired.pages, observed.pages)
    live = [*found.removed.items(), *((size, before) for size, (before, _) in found.changed.items())]
    return [(before, pages_to_be(desired.pages.get(size), before)) for size, before in sorted(live)]


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


def pages_grow(before: Pages | None, after: Pages) -> bool:
    """Whether some of them are to be more, so that others may need them."""
    if before is None or after.total > before.total or after.max_maps > before.max_maps:
        return True
    return any(a > b for a, b in zip_longest(after.nodes, before.nodes if after.nodes else (), fillvalue=0))


def add_pages(after: Pages) -> Action:
    reason = "the spec asks for them"
    return Action(Verb.ADD, Kind.PAGES, after.size, None, None, after, Impact.NONE, reason)


def remove_pages(before: Pages) -> Action:
    """Comes after everything that may have used them has gone."""
    reason = "vio4wd had reserved them, and the spec asks for none"
    return Action(Verb.REMOVE, Kind.PAGES, before.size, None, before, None, Impact.NONE, reason)


def change_pages(before: Pages, after: Pages) -> Action:
    """More or fewer; nobody's pages are taken from him."""
    if after.total > before.total:
        reason = "the spec asks for more"
    elif after.total < before.total:
        reason = "vio4wd had reserved more than the spec asks for now"
    elif after.max_maps > before.max_maps:
        reason = "a process may map each page on its own, and vm.max_map_count has to allow that"
    else:
        reason = "the spec asks for them on other nodes"
    return Action(Verb.UPDATE, Kind.PAGES, after.size, None, before, after, Impact.NONE, reason)


def add_mount(after: Mount) -> Action:
    return Action(Verb.ADD, Kind.MOUNT, after.path, None, None, after, Impact.NONE, "the spec asks for it")


def remove_mount(before: Mount) -> Action:
    """Comes last; while somebody uses it, it stays."""
    reason = "vio4wd had mounted it, and the spec does not ask for it any more"
    return Action(Verb.REMOVE, Kind.MOUNT, before.path, None, before, None, Impact.NONE, reason)


def change_mount(before: Mount, after: Mount) -> Action:
    """Directories in place. Pages of another size take another mount, which is made only when nobody uses this one."""
    if before.page_size != after.page_size:
        verb, reason = Verb.REPLACE, "the spec wants pages of another size there"
    else:
        verb, reason = Verb.UPDATE, "its directories for libvirt are to be others'"
    return Action(verb, Kind.MOUNT, after.path, None, before, after, Impact.NONE, reason)
