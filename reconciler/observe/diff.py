"""When what is live matches what is desired, how the two differ, and a state with or without one of its relays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Generic, TypeVar

from schema.model import Key, Mount, Pages, Pin, Resource, State, Vf
from schema.vf import pci_functions

K = TypeVar("K", bound=Key)
R = TypeVar("R", bound=Resource)


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
