"""Some relays of a host: those that a target names and what these need, and those that are the file's own.

To go back to an earlier content of the file is no reason to touch what other owners have asked for since.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from reconciler.host.refusal import SpecUnfit
from reconciler.observe.diff import with_relay, without_relay
from reconciler.observe.engines import HostSnapshot
from reconciler.planning.host_plan import as_desired
from reconciler.policy.claims import device_name
from schema.model import State, Worker
from schema.rules.claims import Claim, of_state, rivals
from state.applied import LastTarget
from state.relay_requests import RelayRequest

# ---- the file's own --------------------------------------------------------------------------------------------------


def others_of(whole: State, asked: Iterable[RelayRequest]) -> frozenset[int]:
    """The relays of a state that owners beside the file have asked for."""
    ports = {id_: relay.port for id_, relay in whole.relays.items()}
    return frozenset(each.relay for each in asked if ports.get(each.relay) == device_name(each.wanted))


def owners_of(asked: Iterable[RelayRequest], others: Iterable[int]) -> dict[int, str]:
    """Who asked for which of these relays, which are not the file's."""
    wanted = frozenset(others)
    return {request.relay: request.owner for request in asked if request.relay in wanted}


def files_own(whole: State, others: Iterable[int]) -> State:
    """Without these relays. Sockets of a template, which are there without relays, stay."""
    own = whole
    for id_ in others:
        own = without_relay(own, id_)
    return replace(own, sockets=whole.sockets) if len(whole.sockets) > len(whole.relays) else own


def with_others(own: State, theirs: State, others: Iterable[int]) -> State:
    """With these relays of another state, as far as nobody else has their id, VFs or socket."""
    whole = own
    for id_ in sorted(theirs.relays.keys() & others):
        if id_ not in whole.relays and not any(rivals(of_state(theirs, id_), _claims(whole))):
            whole = with_relay(whole, theirs, id_)
    return whole


# ---- a target of some relays -----------------------------------------------------------------------------------------


def targeted(target: State, snapshot: HostSnapshot, ids: frozenset[int], last: LastTarget | None) -> State:
    """A target that changes only these relays, and what they need; everything else is wanted as it is.

    With them come relays that have a VF or a socket which they are to get, and the CPUs that they are pinned to. Raises
    SpecUnfit when one of them is neither wanted nor live."""
    live = as_desired(snapshot.states.values())
    known = target.relays.keys() | live.relays.keys() | (last.protected if last is not None else frozenset())
    unknown = [f"relay:{id_} is neither in the spec nor live" for id_ in sorted(ids - known)]
    if unknown:
        raise SpecUnfit(unknown)
    chosen = _with_rivals(target, live, ids)
    whole = live
    for id_ in sorted(chosen & live.relays.keys()):
        whole = without_relay(whole, id_)
    for id_ in sorted(chosen & target.relays.keys()):
        whole = _put_in(whole, target, id_)
    return whole


def protected_among(last: LastTarget | None, ids: Iterable[int]) -> LastTarget | None:
    """What guards remember of these relays alone."""
    return replace(last, protected=last.protected & frozenset(ids)) if last is not None else None


def _with_rivals(target: State, live: State, ids: frozenset[int]) -> frozenset[int]:
    """These relays, those that have what they are to get, and so on."""
    chosen, more = ids, ids
    while more:
        needed = frozenset().union(*(of_state(target, id_) for id_ in more & target.relays.keys()))
        more = frozenset(id_ for id_, _ in rivals(needed, _claims(live))) - chosen
        chosen |= more
    return chosen


def _claims(state: State) -> dict[int, frozenset[Claim]]:
    return {id_: of_state(state, id_) for id_ in state.relays}


def _put_in(whole: State, target: State, id_: int) -> State:
    """With the CPUs that it is pinned to, or all that there are to be when it is to be placed."""
    pin = target.pins.get(id_)
    cpus = frozenset({Worker(pin.vf_to_vm), Worker(pin.vm_to_vf)}) if pin is not None else target.workers
    return with_relay(replace(whole, workers=whole.workers | cpus), target, id_)
