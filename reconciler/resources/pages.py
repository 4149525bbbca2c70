"""Hugepages of one size: reserved before anything needs them, given back when nobody is left who does.

Those that a host kept before vio4wd count for what a spec wants, and stay whatever it says.
"""

from __future__ import annotations

from itertools import zip_longest

from schema.model import Action, Impact, Kind, Pages, Verb


def goal(wanted: Pages | None, live: Pages) -> Pages:
    """What the live ones are to become: what is wanted, but no fewer than were found."""
    if wanted is None:
        return Pages(live.size, sum(live.found), live.found, live.found, live.max_maps)
    max_maps = max(wanted.max_maps, live.max_maps)
    if wanted.nodes:
        nodes = tuple(max(pair) for pair in zip_longest(wanted.nodes, live.found, fillvalue=0))
        return Pages(live.size, sum(nodes), nodes, live.found, max_maps)
    return Pages(live.size, max(wanted.total, sum(live.found)), (), live.found, max_maps)


def met(wanted: Pages | None, live: Pages) -> bool:
    """Whether nothing is to be done."""
    after = goal(wanted, live)
    by_node = not after.nodes or all(a == b for a, b in zip_longest(after.nodes, live.nodes, fillvalue=0))
    return by_node and (after.total, after.max_maps) == (live.total, live.max_maps)


def grows(before: Pages | None, after: Pages) -> bool:
    """Whether some of them are to be more, so that others may need them."""
    if before is None or after.total > before.total or after.max_maps > before.max_maps:
        return True
    return any(a > b for a, b in zip_longest(after.nodes, before.nodes if after.nodes else (), fillvalue=0))


def add(after: Pages) -> Action:
    reason = "the spec asks for them"
    return Action(Verb.ADD, Kind.PAGES, after.size, None, None, after, Impact.NONE, reason)


def remove(before: Pages) -> Action:
    """Comes after everything that may have used them has gone."""
    reason = "vio4wd had reserved them, and the spec asks for none"
    return Action(Verb.REMOVE, Kind.PAGES, before.size, None, before, None, Impact.NONE, reason)


def change(before: Pages, after: Pages) -> Action:
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
