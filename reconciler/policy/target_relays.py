"""A target that changes only some relays, and what these need: everything else is wanted as it is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from reconciler.host.refusal import SpecUnfit
from reconciler.observe.snapshot import HostSnapshot
from reconciler.order.device_handover import devices
from reconciler.planning.host_plan import as_wish
from reconciler.resources.relay_set import with_relay, without_relay
from schema.model import Port, State, Worker
from state.last_applied import LastTarget


def narrowed(target: State, snapshot: HostSnapshot, ids: frozenset[int], last: LastTarget | None) -> State:
    """Raises SpecUnfit when one of these relays is neither wanted nor live. With them come relays that have a VF or a
    socket which they are to get, and the CPUs that they are pinned to."""
    live = as_wish(snapshot.states.values())
    known = target.relays.keys() | live.relays.keys() | (last.protected if last is not None else frozenset())
    unknown = [f"relay:{id_} is neither in the spec nor live" for id_ in sorted(ids - known)]
    if unknown:
        raise SpecUnfit(unknown)
    chosen = _with_holders(target, live, ids)
    whole = live
    for id_ in sorted(chosen & live.relays.keys()):
        whole = without_relay(whole, id_)
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


def _put_in(whole: State, target: State, id_: int) -> State:
    """With the CPUs that it is pinned to, or all that there are to be when it is to be placed."""
    pin = target.pins.get(id_)
    cpus = frozenset({Worker(pin.vf_to_vm), Worker(pin.vm_to_vf)}) if pin is not None else target.workers
    return with_relay(replace(whole, workers=whole.workers | cpus), target, id_)
