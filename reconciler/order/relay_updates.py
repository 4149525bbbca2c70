"""In which order relays can take over each other's ports and sockets.

The engine refuses a port or socket that another relay holds. So a relay that wants what another one leaves waits for
it; relays that wait for each other in a circle need one of them to be taken away first and added again at the end. That
costs one action per circle, and no way costs less: with one action per relay somebody had to be first.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from types import MappingProxyType

from reconciler.order.graph import Waits, cheapest_cut, order, without
from schema.model import Relay


@dataclass(frozen=True, slots=True)
class RelayUpdates:
    """How to carry out the updates of relays."""

    broken: tuple[int, ...]
    """To be removed first and added again at the end, sorted."""
    ordered: tuple[int, ...]
    """To be updated, in this order."""


def moves(
    changed: Mapping[int, tuple[Relay, Relay]], repinned: Set[int], for_ports: Waits[int] = MappingProxyType({})
) -> RelayUpdates:
    """The order of these updates (before, after). `repinned` also change their pin: breaking one of them costs
    nothing, because its new pin rides along when it is added again. `for_ports`: whom a relay waits for because a port
    that is still to come needs a device of his; himself, when it is his own."""
    waits = {id_: others | (for_ports.get(id_, set()) & changed.keys()) for id_, others in _waits(changed).items()}
    broken = cheapest_cut(waits, lambda relay: int(relay not in repinned))
    return RelayUpdates(tuple(sorted(broken)), order(without(waits, broken)))


def _waits(changed: Mapping[int, tuple[Relay, Relay]]) -> dict[int, set[int]]:
    ports = {before.port: relay for relay, (before, _) in changed.items()}
    sockets = {before.socket: relay for relay, (before, _) in changed.items()}
    waits: dict[int, set[int]] = {}
    for relay, (_, after) in changed.items():
        holders = {ports.get(after.port), sockets.get(after.socket)}
        waits[relay] = {holder for holder in holders if holder is not None and holder != relay}
    return waits
