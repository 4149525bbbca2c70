"""What to do so that the engine matches the spec: a pure function from two states to a value.

The same states give the same plan; nothing to do is the empty one; no plan with fewer actions does the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TypeVar

from reconciler.order.handover import Handover, handover
from reconciler.order.prerequisites import ordered
from reconciler.planning.cpus import place
from reconciler.resources.actions import (
    add_port,
    add_relay,
    add_socket,
    add_vf,
    add_worker,
    change_engine,
    change_pin,
    change_port,
    change_relay,
    change_socket,
    change_vf,
    needs_new_process,
    remove_port,
    remove_relay,
    remove_socket,
    remove_vf,
    remove_worker,
)
from reconciler.resources.diff import Difference, difference, matches
from reconciler.resources.host_memory import given_back, readied
from schema.model import Action, Kind, Pin, Port, Relay, Socket, State
from schema.vf import pci_functions


@dataclass(frozen=True, slots=True)
class Plan:
    """Actions in the order in which they are to be carried out."""

    actions: tuple[Action, ...] = ()
    pins: Mapping[int, Pin] = field(default_factory=dict)
    """The place of each relay that is added: it is sent beside the action."""

    def pin_of(self, action: Action) -> Pin | None:
        """The pin to be sent with this action."""
        added = action.kind is Kind.RELAY and action.after is not None and action.before is None
        return self.pins[int(action.key)] if added else None


@dataclass(frozen=True, slots=True)
class Frame:
    """What the groups of a plan are computed from."""

    desired: State
    observed: State
    sockets: Difference[str, Socket]
    relays: Difference[int, Relay]
    placed: Mapping[int, Pin]
    repinned: frozenset[int]
    handed: Handover


def plan(desired: State, observed: State, broken: Mapping[int, str] = MappingProxyType({})) -> Plan:
    """The shortest list of actions that makes `observed` match `desired`.

    `broken` names relays that are taken away first and added again instead of being changed in place, with the reason.
    When the engine needs a new process, that is the whole plan: what the new one has to do is planned when it is up.
    """
    if needs_new_process(observed.engine, desired.engine):
        return Plan((change_engine(observed.engine, desired.engine),))
    frame = _frame(desired, observed, broken)
    actions = (
        *readied(desired, observed),
        *_engine(frame),
        *_workers_added(frame),
        *_relays_removed(frame),
        *_removed(frame, after_update=False),
        *_vfs_bound(frame),
        *_changed_and_added(frame),
        *_relays_updated(frame),
        *_relays_added(frame),
        *_pins_migrated(frame),
        *_removed(frame, after_update=True),
        *_vfs_given_back(frame),
        *_workers_removed(frame),
        *given_back(desired, observed),
    )
    added = (*frame.relays.added, *frame.handed.broken)
    pins = MappingProxyType({id_: frame.placed[id_] for id_ in sorted(added)})
    return Plan(ordered(actions, observed.pins), pins)


def _frame(desired: State, observed: State, broken: Mapping[int, str]) -> Frame:
    placed = place(desired, observed)
    survivors = desired.relays.keys() & observed.relays.keys()
    repinned = frozenset(id_ for id_ in survivors if not matches(placed[id_], observed.pins.get(id_)))
    return Frame(
        desired=desired,
        observed=observed,
        sockets=difference(desired.sockets, observed.sockets),
        relays=difference(desired.relays, observed.relays),
        placed=placed,
        repinned=repinned,
        handed=handover(desired, observed, repinned, broken),
    )


def _engine(frame: Frame) -> Iterable[Action]:
    if not matches(frame.desired.engine, frame.observed.engine):
        yield change_engine(frame.observed.engine, frame.desired.engine)


def _workers_added(frame: Frame) -> Iterable[Action]:
    return (add_worker(w) for w in sorted(frame.desired.workers - frame.observed.workers, key=lambda w: w.cpu))


def _workers_removed(frame: Frame) -> Iterable[Action]:
    return (remove_worker(w) for w in sorted(frame.observed.workers - frame.desired.workers, key=lambda w: w.cpu))


def _relays_removed(frame: Frame) -> Iterable[Action]:
    live, broken = frame.observed.relays, frame.handed.broken
    for id_ in sorted((*frame.relays.removed, *broken)):
        yield remove_relay(live[id_], broken[id_]) if id_ in broken else remove_relay(live[id_])


def _relays_updated(frame: Frame) -> Iterable[Action]:
    return (change_relay(*frame.relays.changed[id_]) for id_ in frame.handed.updated)


def _relays_added(frame: Frame) -> Iterable[Action]:
    wanted, broken = frame.desired.relays, frame.handed.broken
    for id_ in sorted((*frame.relays.added, *broken)):
        yield add_relay(wanted[id_], broken[id_]) if id_ in broken else add_relay(wanted[id_])


def _pins_migrated(frame: Frame) -> Iterable[Action]:
    cpus = {w.cpu for w in frame.desired.workers}
    for id_ in sorted(frame.repinned - frame.handed.broken.keys()):
        yield change_pin(frame.observed.pins.get(id_), frame.placed[id_], id_ in frame.desired.pins, cpus)


def _changed_and_added(frame: Frame) -> Iterable[Action]:
    ports, sockets = _holders(frame.desired)
    yield from (change_port(*pair, ports.get(name)) for name, pair in frame.handed.ports.changed.items())
    yield from (change_socket(*pair, sockets.get(path)) for path, pair in frame.sockets.changed.items())
    yield from (add_port(p, ports.get(name)) for name, p in frame.handed.ports.added.items())
    yield from (add_socket(s, sockets.get(path)) for path, s in frame.sockets.added.items())


def _removed(frame: Frame, after_update: bool) -> Iterable[Action]:
    """Ports and sockets that go; `after_update`: those that a relay needs until its update."""
    ports, sockets = _holders(frame.observed)
    updated = set(frame.handed.updated)
    for action in _gone(frame.handed.ports.removed, ports, updated, after_update, remove_port):
        yield replace(action, reason=frame.handed.reasons.get(str(action.key), action.reason))
    yield from _gone(frame.sockets.removed, sockets, updated, after_update, remove_socket)


R = TypeVar("R", Port, Socket)


def _gone(
    removed: Mapping[str, R],
    holders: Mapping[str, int],
    updated: set[int],
    after_update: bool,
    remove: Callable[[R, int | None], Action],
) -> Iterable[Action]:
    for key, resource in removed.items():
        if (holders.get(key) in updated) is after_update:
            yield remove(resource, holders.get(key))


def _vfs_bound(frame: Frame) -> Iterable[Action]:
    """Those of this engine's ports, and, for nobody in particular, those of no port: these may be another engine's."""
    users = _users(frame.desired)
    vfs = difference(frame.desired.vfs, frame.observed.vfs)
    yield from (change_vf(*pair, users.get(address)) for address, pair in vfs.changed.items())
    yield from (add_vf(each, users.get(address)) for address, each in vfs.added.items())


def _vfs_given_back(frame: Frame) -> Iterable[Action]:
    users = _users(frame.observed)
    gone = difference(frame.desired.vfs, frame.observed.vfs).removed
    return (remove_vf(each, users.get(address)) for address, each in gone.items())


def _users(state: State) -> dict[str, int | None]:
    """Which relay polls which PCI function; None where it is nobody's in particular."""
    ports, _ = _holders(state)
    return {address: ports.get(name) for name, port in state.ports.items() for address in pci_functions(port)}


def _holders(state: State) -> tuple[dict[str, int], dict[str, int]]:
    """Which relay has which port, and which socket."""
    ports = {relay.port: id_ for id_, relay in state.relays.items()}
    sockets = {relay.socket: id_ for id_, relay in state.relays.items()}
    return ports, sockets
