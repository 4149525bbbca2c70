"""What belongs to one relay only: its id, its VFs and what lies below them, its bond and its socket.

Whoever claims what another one has stands in its way. The rules of a spec, the requests of several owners, guards,
targets and frontends all ask here, each with sentences of its own. In a spec a second claim is refused and names the
first; so it is with mounts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Set
from typing import TypeVar

from schema.model import Port, State
from schema.nodes import Document, Path, Problem, Scalar, dotted, shorten
from schema.spec import RelaySpec, Spec, VhostUserSpec, endpoints, socket_path
from schema.vf import below, devices, is_bond_name
from schema.yaml12 import at

Claim = str
"""Its kind and its name, as state/ keeps it: `id 3`, `VF 0000:05:08.1`, `interface veth1`, `bond net_bonding0`,
`socket /tmp/a.sock`, `mount /dev/hugepages`."""

K = TypeVar("K")


def vf(name: str) -> Claim:
    return f"VF {name}"


def bond(name: str) -> Claim:
    return f"bond {name}"


def socket(path: str) -> Claim:
    return f"socket {path}"


def bare(claim: Claim) -> str:
    """By its name alone, where that tells what it is: `0000:05:08.1`, but `interface veth1`."""
    kind, _, name = claim.partition(" ")
    return name if kind in ("VF", "bond", "socket", "mount") else claim


def placed(vhost_user: VhostUserSpec, relay: RelaySpec) -> Iterator[tuple[Claim, Path]]:
    """The claims of a spec's relay, and where in it each stands; a socket of the template stands nowhere, at `()`."""
    yield f"id {relay.id}", ("id",)
    if relay.vf is not None:
        yield from ((claim, ("vf",)) for claim in of_port(relay.vf))
    if relay.bond is not None:
        for index, member in enumerate(relay.bond.members):
            yield from ((claim, ("bond", "members", index)) for claim in of_port(member))
        yield bond(relay.bond.name), ("bond", "name")
    yield socket(socket_path(vhost_user, relay)), ("socket",) if relay.socket is not None else ()


def of_spec(vhost_user: VhostUserSpec, relay: RelaySpec) -> frozenset[Claim]:
    """What a spec's relay claims."""
    return frozenset(claim for claim, _ in placed(vhost_user, relay))


def of_port(port: Port) -> tuple[Claim, ...]:
    """What a port claims: a bond also what its members do."""
    own = (bond(port.name),) if port.bond_mode else ()
    return (*own, *(claim for device in devices(port) for claim in (vf(device.name), *below(device))))


def of_state(state: State, id_: int) -> frozenset[Claim]:
    """What a relay of a state claims beyond its id."""
    relay = state.relays[id_]
    port = state.ports.get(relay.port)
    gone = bond(relay.port) if is_bond_name(relay.port) else vf(relay.port)
    return frozenset((socket(relay.socket), *(of_port(port) if port is not None else (gone,))))


def rivals(mine: Set[Claim], others: Mapping[K, Set[Claim]]) -> Iterator[tuple[K, Claim]]:
    """Who else claims something of `mine`, and what: in the order of `others`, the claims of each sorted."""
    for other, theirs in others.items():
        yield from ((other, claim) for claim in sorted(mine & theirs))


# ---- the rule of a spec ----------------------------------------------------------------------------------------------


def claimed_twice(spec: Spec, document: Document) -> Iterator[Problem]:
    owners: dict[Claim, Path] = {}
    reported: set[Path] = set()
    for claim, path in _claims(spec):
        owner = owners.setdefault(claim, path)
        if owner != path and path not in reported:
            reported.add(path)
            where = at(document.place(owner), document.place(path))
            message = f"{_name(claim)} belongs to {_owner_at(document, owner)} already ({where}); give each its own"
            yield document.problem(path, message)


def _claims(spec: Spec) -> Iterator[tuple[Claim, Path]]:
    """Each claim, and where the spec makes it."""
    ids = Counter(relay.id for relay in spec.relays)
    for index, relay in enumerate(spec.relays):
        for claim, path in placed(spec.vhost_user, relay):
            # Where an id stands twice its template path does too, and the id alone is worth a sentence.
            if path or ids[relay.id] == 1:
                yield claim, ("relays", index, *path)
    yield from ((socket(endpoint.path), place) for place, endpoint in endpoints(spec))
    yield from ((f"mount {entry.mount}", ("hugepages", index, "mount")) for index, entry in enumerate(spec.hugepages))


def _name(claim: Claim) -> str:
    path = claim.removeprefix("socket ")
    return bare(claim) if path == claim else f"the socket {shorten(path, 110)}"


def _owner_at(document: Document, path: Path) -> str:
    """How people name what stands here: a relay by its id, unless the id is what is claimed twice."""
    number = document.at((*path[:2], "id"))
    if isinstance(number, Scalar) and path[2:] != ("id",):
        return f"relay {number.value}"
    return dotted(document.as_written(path[:2]))
