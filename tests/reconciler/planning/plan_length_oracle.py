"""The length of the shortest plan, found in another way than the planner's: by trying.

One action per difference is the least. Where that can't be ordered, some relays have to be taken away first and added
again, or some bonds: all ways to choose them are tried on a board on which every action has to be possible.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, combinations
from typing import Any, TypeVar

from schema.model import Key, Mount, Pages, State, Worker
from schema.vf import device_names

Names = frozenset[str]
Ids = frozenset[int]
T = TypeVar("T")


def least_actions(desired: State, observed: State) -> int:
    """How many actions at least lead from `observed` to `desired`."""
    count = int(desired.engine != observed.engine) + len(desired.workers ^ observed.workers)
    count += _differences(desired.sockets, observed.sockets) + _differences(desired.ports, observed.ports)
    return count + _relay_actions(desired, observed) + _host_actions(desired, observed)


def _differences(wanted: Mapping[str, object], live: Mapping[str, object]) -> int:
    return sum(wanted.get(key) != live.get(key) for key in wanted.keys() | live.keys())


def _relay_actions(desired: State, observed: State) -> int:
    """With what it costs to split ports."""
    only_one = len(desired.relays.keys() ^ observed.relays.keys())
    ways = ((_cost(desired, observed, cut, split), cut, split) for cut, split in _ways(desired, observed))
    costs = sorted(ways, key=lambda way: way[0])
    return only_one + next(cost for cost, cut, split in costs if Board(desired, observed, cut, split).clears())


def _ways(desired: State, observed: State) -> Iterator[tuple[Ids, Names]]:
    """Which relays are removed and added again, and which ports are."""
    staying = desired.relays.keys() & observed.relays.keys()
    both = [name for name in desired.ports.keys() & observed.ports.keys() if _differ(name, desired, observed)]
    for cut in _subsets(staying):
        for split in _subsets(both):
            yield frozenset(cut), frozenset(split)


def _differ(name: str, desired: State, observed: State) -> bool:
    return device_names(desired.ports[name]) != device_names(observed.ports[name])


def _subsets(things: Iterable[T]) -> Iterator[tuple[T, ...]]:
    pool = list(things)
    return chain.from_iterable(combinations(pool, size) for size in range(len(pool) + 1))


def _cost(desired: State, observed: State, cut: Ids, split: Names) -> int:
    staying = desired.relays.keys() & observed.relays.keys()
    changed = sum(desired.relays[r] != observed.relays[r] for r in staying - cut)
    repinned = sum(_must_move(r, desired, observed) for r in staying - cut)
    return changed + repinned + 2 * len(cut) + len(split)


def _must_move(relay: int, desired: State, observed: State) -> bool:
    pin = observed.pins[relay]
    if relay in desired.pins:
        return desired.pins[relay] != pin
    return not {Worker(pin.vf_to_vm), Worker(pin.vm_to_vf)} <= desired.workers


@dataclass(frozen=True)
class Step:
    """Something goes on the board, changes there or is taken off."""

    kind: str
    key: Key
    on: bool
    """Whether it is on the board afterwards."""


class Board:
    """What is live while a plan runs: each step is made as soon as it can be. What a step takes nobody else wants, so
    no step ever hinders another, and making them as they come finds an order if there is one."""

    def __init__(self, desired: State, observed: State, cut: Ids, split: Names) -> None:
        self.desired = desired
        self.ports = {name: device_names(port) for name, port in observed.ports.items()}
        self.sockets = set(observed.sockets)
        self.places = {id_: (relay.port, relay.socket) for id_, relay in observed.relays.items()}
        self.todo = [
            *_steps("relay", desired.relays, observed.relays, cut),
            *_steps("port", desired.ports, observed.ports, split),
            *_steps("socket", desired.sockets, observed.sockets, frozenset()),
        ]

    def clears(self) -> bool:
        """Whether every step can be made."""
        while self.todo:
            ready = next((step for step in self.todo if self._able(step)), None)
            if ready is None:
                return False
            self._make(ready)
            self.todo.remove(ready)
        return True

    def _able(self, step: Step) -> bool:
        if step.on and Step(step.kind, step.key, False) in self.todo:
            return False  # it goes first
        others = [place for id_, place in self.places.items() if (step.kind, step.key) != ("relay", id_)]
        held = {each for place in others for each in place}
        if step.kind == "relay" and step.on:
            relay = self.desired.relays[int(step.key)]
            there = relay.port in self.ports and relay.socket in self.sockets
            return there and Step("port", relay.port, False) not in self.todo and not {relay.port, relay.socket} & held
        if step.kind == "port" and step.on:
            return not self._devices(step) & self._taken(step.key)
        return step.on or step.kind == "relay" or step.key not in held

    def _devices(self, step: Step) -> Names:
        return device_names(self.desired.ports[str(step.key)])

    def _taken(self, key: Key) -> Names:
        return frozenset().union(*(each for name, each in self.ports.items() if name != key))

    def _make(self, step: Step) -> None:
        match step:
            case Step("relay", int(key), True):
                self.places[key] = (self.desired.relays[key].port, self.desired.relays[key].socket)
            case Step("relay", int(key), False):
                del self.places[key]
            case Step("port", str(key), True):
                self.ports[key] = self._devices(step)
            case Step("port", str(key), False):
                del self.ports[key]
            case Step("socket", str(key), True):
                self.sockets.add(key)
            case Step("socket", str(key), False):
                self.sockets.remove(key)


def _steps(kind: str, wanted: Mapping[Any, object], live: Mapping[Any, object], anew: frozenset[Any]) -> Iterator[Step]:
    for key in wanted.keys() | live.keys():
        if key in anew or key not in wanted:
            yield Step(kind, key, False)
        if key in anew or (key in wanted and wanted[key] != live.get(key)):
            yield Step(kind, key, True)


def _host_actions(desired: State, observed: State) -> int:
    """One for each VF, size of pages and mount that is not as it is to be."""
    polled = desired.vfs.items()
    vfs = sum(bool(vf.driver) and observed.vfs.get(address) != vf for address, vf in polled)
    vfs += len(observed.vfs.keys() - desired.vfs.keys())
    sizes = desired.pages.keys() | observed.pages.keys()
    paths = desired.mounts.keys() | observed.mounts.keys()
    pages = sum(_wrong_pages(desired.pages.get(size), observed.pages.get(size)) for size in sizes)
    return vfs + pages + sum(_wrong_mount(desired.mounts.get(path), observed.mounts.get(path)) for path in paths)


def _wrong_pages(wanted: Pages | None, live: Pages | None) -> bool:
    """What was found is never touched, so it counts for what is wanted, and is not in excess of it."""
    if live is None:
        return wanted is not None and wanted.total > 0
    if wanted is not None and wanted.max_maps > live.max_maps:
        return True
    if wanted is not None and not wanted.nodes:
        return live.total < wanted.total or live.total > max(wanted.total, sum(live.found))
    least = wanted.nodes if wanted is not None else (0, 0)
    rows = zip(live.nodes, live.found, least, strict=True)
    return any(now < want or now > max(found, want) for now, found, want in rows)


def _wrong_mount(wanted: Mount | None, live: Mount | None) -> bool:
    if wanted is None or live is None:
        return wanted is not None or (live is not None and live.ours)
    if wanted.uid is None:
        return wanted.page_size != live.page_size
    return wanted != replace(live, ours=wanted.ours)
