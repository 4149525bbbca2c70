"""A target that changes only some relays, and what these need: everything else is wanted as it is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from reconciler.desired import SpecUnfit
from reconciler.devices import devices
from reconciler.hostplan import as_wish
from reconciler.sighting import Sighting
from schema.model import Port, State, Worker
from schema.vf import pci_functions
from state.lasttarget import LastTarget


def narrowed(target: State, sighting: Sighting, ids: frozenset[int], last: LastTarget | None) -> State:
    """Raises SpecUnfit when one of these relays is neither wanted nor live. With them come relays that have a VF or a
    socket which they are to get, and the CPUs that they are pinned to."""
    live = as_wish(sighting.states.values())
    known = target.relays.keys() | live.relays.keys() | (last.protected if last is not None else frozenset())
    unknown = [f"relay:{id_} is neither in the spec nor live" for id_ in sorted(ids - known)]
    if unknown:
        raise SpecUnfit(unknown)
    chosen = _with_holders(target, live, ids)
    whole = live
    for id_ in sorted(chosen & live.relays.keys()):
        whole = _taken_out(whole, id_)
    for id_ in sorted(chosen & target.relays.keys()):
        whole = _put_in(whole, target, id_)
    return whole


def scope(last: LastTarget | None, ids: Iterable[int]) -> LastTarget | None:
    """What guards remember of these relays alone."""
    return replace(last, protected=last.protected & frozenset(ids)) if last is not None else None


def _with_holders(target: State, live: State, ids: frozenset[int]) -> frozenset[int]:
    """These relays, those that hold what they are to get, and so on."""
    chosen, more = ids, ids
    while more:
        wanted = [id_ for id_ in more if id_ in target.relays]
        sockets = {target.relays[id_].socket for id_ in wanted}
        needed = frozenset().union(*(_devices(target, id_) for id_ in wanted))
        holders = {id_ for id_, r in live.relays.items() if r.socket in sockets or _devices(live, id_) & needed}
        more = frozenset(holders) - chosen
        chosen |= more
    return chosen


def _devices(state: State, id_: int) -> frozenset[str]:
    port = state.ports.get(state.relays[id_].port, Port(state.relays[id_].port))
    return devices(port) | {port.name}


def _taken_out(whole: State, id_: int) -> State:
    relay = whole.relays[id_]
    vfs = pci_functions(whole.ports[relay.port]) if relay.port in whole.ports else ()
    return replace(
        whole,
        relays={other: r for other, r in whole.relays.items() if other != id_},
        ports={name: port for name, port in whole.ports.items() if name != relay.port},
        sockets={path: socket for path, socket in whole.sockets.items() if path != relay.socket},
        pins={other: pin for other, pin in whole.pins.items() if other != id_},
        vfs={address: vf for address, vf in whole.vfs.items() if address not in vfs},
    )


def _put_in(whole: State, target: State, id_: int) -> State:
    relay, pin = target.relays[id_], target.pins.get(id_)
    cpus = frozenset({Worker(pin.vf_to_vm), Worker(pin.vm_to_vf)}) if pin is not None else target.workers
    port = target.ports[relay.port]
    vfs = {address: target.vfs[address] for address in pci_functions(port)}
    return replace(
        whole,
        workers=whole.workers | cpus,
        relays={**whole.relays, id_: relay},
        ports={**whole.ports, port.name: port},
        sockets={**whole.sockets, relay.socket: target.sockets[relay.socket]},
        pins={**whole.pins, **({id_: pin} if pin is not None else {})},
        vfs={**whole.vfs, **vfs},
    )
