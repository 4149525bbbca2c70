"""How what is desired differs from what is live, and a state with or without one of its relays.

Hugepages and their mounts, which the host has once, are made before anything needs them. Pages that a host kept before
vio4wd count for what a spec wants, and stay whatever it says; so does a mount that vio4wd has not made.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Generic, TypeVar

from schema.model import PAGE_BYTES, Action, Impact, Key, Kind, Mount, Pages, Pin, Resource, State, Verb, Vf
from schema.vf import pci_functions

K = TypeVar("K", bound=Key)
R = TypeVar("R", bound=Resource)


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


def matches(wanted: Resource | None, live: Resource | None) -> bool:
    """Whether nothing is to be done: they are equal, or a placement that nobody asked for is as good as any,
    as is the driver of a VF that vio4wd is not to bind. Hugepages and their mounts have more to themselves."""
    if wanted is None and isinstance(live, Pin):
        return True
    if isinstance(wanted, Pages) and not wanted.total and live is None:
        return True
    if isinstance(live, Pages) and (wanted is None or isinstance(wanted, Pages)):
        return pages_match(wanted, live)
    if isinstance(live, Mount):
        return mount_matches(wanted, live) if isinstance(wanted, Mount) else not live.ours
    if isinstance(wanted, Vf) and not wanted.driver:
        return True
    return wanted == live


@dataclass(frozen=True, slots=True)
class Difference(Generic[K, R]):
    """How the wanted resources of one kind differ from the live ones, each part sorted by key."""

    added: dict[K, R]
    removed: dict[K, R]
    changed: dict[K, tuple[R, R]]
    """Key to (before, after)."""


def difference(wanted: Mapping[K, R], live: Mapping[K, R]) -> Difference[K, R]:
    """What to add, remove and change so that `live` becomes `wanted`."""
    return Difference(
        added={key: wanted[key] for key in sorted(wanted.keys() - live.keys()) if not matches(wanted[key], None)},
        removed={key: live[key] for key in sorted(live.keys() - wanted.keys()) if not matches(None, live[key])},
        changed={
            key: (live[key], wanted[key])
            for key in sorted(wanted.keys() & live.keys())
            if not matches(wanted[key], live[key])
        },
    )


def pages_to_be(wanted: Pages | None, live: Pages) -> Pages:
    """What the live ones are to become: what is wanted, but no fewer than were found."""
    if wanted is None:
        return Pages(live.size, sum(live.found), live.found, live.found, live.max_maps)
    max_maps = max(wanted.max_maps, live.max_maps)
    if wanted.nodes:
        nodes = tuple(max(pair) for pair in zip_longest(wanted.nodes, live.found, fillvalue=0))
        return Pages(live.size, sum(nodes), nodes, live.found, max_maps)
    return Pages(live.size, max(wanted.total, sum(live.found)), (), live.found, max_maps)


def pages_match(wanted: Pages | None, live: Pages) -> bool:
    """Whether nothing is to be done."""
    after = pages_to_be(wanted, live)
    by_node = not after.nodes or all(a == b for a, b in zip_longest(after.nodes, live.nodes, fillvalue=0))
    return by_node and (after.total, after.max_maps) == (live.total, live.max_maps)


def mount_matches(wanted: Mount, live: Mount) -> bool:
    """Whether nothing is to be done: whose it is does not matter, nor do directories that nobody asked for."""
    directories = wanted.uid is None or (wanted.uid, wanted.gid, wanted.permissions) == (
        live.uid,
        live.gid,
        live.permissions,
    )
    return wanted.page_size == live.page_size and directories


def without_relay(whole: State, id_: int) -> State:
    """The state without this relay and what is its own."""
    relay = whole.relays.get(id_)
    if relay is None:
        return whole
    port = whole.ports.get(relay.port)
    vfs = pci_functions(port) if port is not None else ()
    return replace(
        whole,
        relays={other: r for other, r in whole.relays.items() if other != id_},
        ports={name: each for name, each in whole.ports.items() if name != relay.port},
        sockets={path: each for path, each in whole.sockets.items() if path != relay.socket},
        pins={other: pin for other, pin in whole.pins.items() if other != id_},
        vfs={address: vf for address, vf in whole.vfs.items() if address not in vfs},
    )


def with_relay(whole: State, known: State, id_: int) -> State:
    """The state with this relay as it is in another one, pinned as there if these CPUs are workers here. Its device may
    have gone from there, then the relay comes without one."""
    relay, pin = known.relays[id_], known.pins.get(id_)
    ports = {relay.port: known.ports[relay.port]} if relay.port in known.ports else {}
    cpus = {worker.cpu for worker in whole.workers}
    pins = {id_: pin} if pin is not None and {pin.vf_to_vm, pin.vm_to_vf} <= cpus else {}
    vfs = {
        address: known.vfs.get(address, Vf(address, "")) for port in ports.values() for address in pci_functions(port)
    }
    return replace(
        whole,
        relays={**whole.relays, id_: relay},
        ports={**whole.ports, **ports},
        sockets={**whole.sockets, relay.socket: known.sockets[relay.socket]},
        pins={**whole.pins, **pins},
        vfs={**whole.vfs, **vfs},
    )
