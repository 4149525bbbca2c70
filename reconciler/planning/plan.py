"""What to do so that the engine matches the spec: a pure function from two states to a value.

The same states give the same plan; nothing to do is the empty one; no plan with fewer actions does the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from reconciler.observe.actions import (
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
    given_back,
    needs_new_process,
    readied,
    remove_port,
    remove_relay,
    remove_socket,
    remove_vf,
    remove_worker,
)
from reconciler.observe.diff import Difference, difference, matches
from reconciler.planning.handover import Handover, handover
from reconciler.planning.prerequisites import ordered
from reconciler.planning.shards import place
from schema.model import Action, Kind, Pin, Relay, Socket, State
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
class Changes:
    """How the desired and the observed state differ."""

    desired: State
    observed: State
    sockets: Difference[str, Socket]
    relays: Difference[int, Relay]
    placed: Mapping[int, Pin]
    """The CPUs of each relay that is desired."""
    repinned: frozenset[int]
    """Relays that stay and move to other CPUs."""
    handover: Handover
    """What becomes of ports and of relays that change."""


def plan(desired: State, observed: State, broken: Mapping[int, str] = MappingProxyType({})) -> Plan:
    """The shortest list of actions that makes `observed` match `desired`.

    `broken` names relays that are taken away first and added again instead of being changed in place, with the reason.
    When the engine needs a new process, that is the whole plan: what the new one has to do is planned when it is up.
    """
    if needs_new_process(observed.engine, desired.engine):
        return Plan((change_engine(observed.engine, desired.engine),))
    changes = _changes(desired, observed, broken)
    actions = (
        *readied(desired, observed),
        *_engine(changes),
        *_workers_added(changes),
        *_relays_removed(changes),
        *_removed(changes, after_update=False),
        *_vfs_bound(changes),
        *_changed_and_added(changes),
        *_relays_updated(changes),
        *_relays_added(changes),
        *_pins_migrated(changes),
        *_removed(changes, after_update=True),
        *_vfs_given_back(changes),
        *_workers_removed(changes),
        *given_back(desired, observed),
    )
    added = (*changes.relays.added, *changes.handover.broken)
    pins = MappingProxyType({id_: changes.placed[id_] for id_ in sorted(added)})
    return Plan(ordered(actions, observed.pins), pins)


def _changes(desired: State, observed: State, broken: Mapping[int, str]) -> Changes:
    placed = place(desired, observed)
    survivors = desired.relays.keys() & observed.relays.keys()
    repinned = frozenset(id_ for id_ in survivors if not matches(placed[id_], observed.pins.get(id_)))
    return Changes(
        desired=desired,
        observed=observed,
        sockets=difference(desired.sockets, observed.sockets),
        relays=difference(desired.relays, observed.relays),
        placed=placed,
        repinned=repinned,
        handover=handover(desired, observed, repinned, broken),
    )


def _engine(changes: Changes) -> Iterable[Action]:
    if not matches(changes.desired.engine, changes.observed.engine):
        yield change_engine(changes.observed.engine, changes.desired.engine)


def _workers_added(changes: Changes) -> Iterable[Action]:
    return (add_worker(w) for w in sorted(changes.desired.workers - changes.observed.workers, key=lambda w: w.cpu))


def _workers_removed(changes: Changes) -> Iterable[Action]:
    return (remove_worker(w) for w in sorted(changes.observed.workers - changes.desired.workers, key=lambda w: w.cpu))


def _relays_removed(changes: Changes) -> Iterable[Action]:
    live, broken = changes.observed.relays, changes.handover.broken
    for id_ in sorted((*changes.relays.removed, *broken)):
        yield remove_relay(live[id_], broken[id_]) if id_ in broken else remove_relay(live[id_])


def _relays_updated(changes: Changes) -> Iterable[Action]:
    return (change_relay(*changes.relays.changed[id_]) for id_ in changes.handover.updated)


def _relays_added(changes: Changes) -> Iterable[Action]:
    wanted, broken = changes.desired.relays, changes.handover.broken
    for id_ in sorted((*changes.relays.added, *broken)):
        yield add_relay(wanted[id_], broken[id_]) if id_ in broken else add_relay(wanted[id_])


def _pins_migrated(changes: Changes) -> Iterable[Action]:
    cpus = {w.cpu for w in changes.desired.workers}
    for id_ in sorted(changes.repinned - changes.handover.broken.keys()):
        yield change_pin(changes.observed.pins.get(id_), changes.placed[id_], id_ in changes.desired.pins, cpus)


def _changed_and_added(changes: Changes) -> Iterable[Action]:
    ports, sockets = _holders(changes.desired)
    yield from (change_port(*pair, ports.get(name)) for name, pair in changes.handover.ports.changed.items())
    yield from (change_socket(*pair, sockets.get(path)) for path, pair in changes.sockets.changed.items())
    yield from (add_port(p, ports.get(name)) for name, p in changes.handover.ports.added.items())
    yield from (add_socket(s, sockets.get(path)) for path, s in changes.sockets.added.items())


def _removed(changes: Changes, after_update: bool) -> Iterable[Action]:
    """Ports and sockets that go; `after_update`: those that a relay needs until its update."""
    ports, sockets = _holders(changes.observed)
    gone = [remove_port(each, ports.get(name)) for name, each in changes.handover.ports.removed.items()]
    gone += [remove_socket(each, sockets.get(path)) for path, each in changes.sockets.removed.items()]
    for action in gone:
        if (action.relay in changes.handover.updated) is after_update:
            yield replace(action, reason=changes.handover.reasons.get(str(action.key), action.reason))


def _vfs_bound(changes: Changes) -> Iterable[Action]:
    """Those of this engine's ports, and, for nobody in particular, those of no port: these may be another engine's."""
    users = _users(changes.desired)
    vfs = difference(changes.desired.vfs, changes.observed.vfs)
    yield from (change_vf(*pair, users.get(address)) for address, pair in vfs.changed.items())
    yield from (add_vf(each, users.get(address)) for address, each in vfs.added.items())


def _vfs_given_back(changes: Changes) -> Iterable[Action]:
    users = _users(changes.observed)
    gone = difference(changes.desired.vfs, changes.observed.vfs).removed
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
