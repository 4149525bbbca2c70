"""What of a state is the file's own, and what other owners have beside it: to go back to an earlier content of the file
is no reason to touch what others have asked for since."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from reconciler.order.device_handover import devices
from reconciler.resources.relay_set import with_relay, without_relay
from schema.model import Port, State
from schema.vf import parse_vf
from state.relay_requests import RelayRequest


def others_of(whole: State, asked: Iterable[RelayRequest]) -> frozenset[int]:
    """The relays of a state that owners beside the file have asked for."""
    return frozenset(w.relay for w in asked if w.relay in whole.relays and whole.relays[w.relay].port == _device(w))


def owners_of(asked: Iterable[RelayRequest], others: Iterable[int]) -> dict[int, str]:
    """Who wants which of these relays, which are not the file's."""
    wanted = frozenset(others)
    return {request.relay: request.owner for request in asked if request.relay in wanted}


def files_own(whole: State, others: Iterable[int]) -> State:
    """Without these relays. Sockets of a template, which are there without relays, stay."""
    own = whole
    for id_ in others:
        own = without_relay(own, id_)
    return replace(own, sockets=whole.sockets) if len(whole.sockets) > len(whole.relays) else own


def beside(own: State, theirs: State, others: Iterable[int]) -> State:
    """With these relays of another state, as far as their id, VF and socket are free."""
    whole = own
    for id_ in sorted(others):
        taken = frozenset().union(*(_things(whole, other) for other in whole.relays))
        if id_ in theirs.relays and id_ not in whole.relays and not _things(theirs, id_) & taken:
            whole = with_relay(whole, theirs, id_)
    return whole


def _things(state: State, id_: int) -> frozenset[str]:
    relay = state.relays[id_]
    port = state.ports.get(relay.port, Port(relay.port))
    return devices(port) | {port.name, relay.socket}


def _device(request: RelayRequest) -> str:
    """The name of the port that it makes; empty when it can make none."""
    bond = request.wanted.get("bond")
    try:
        return str(bond["name"]) if bond else parse_vf(str(request.wanted.get("vf"))).name
    except ValueError:
        return ""
