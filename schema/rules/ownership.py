"""One owner for each id, VF and what lies below it, bond, socket path and mount; a second claim is refused and names
the first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator

from schema.document.nodes import Document, Path, Scalar, dotted, shorten
from schema.document.problem import Problem
from schema.document.yaml12 import at
from schema.model import Port
from schema.rules.frontends import endpoints
from schema.spec import Spec, socket_path
from schema.vf import below

Claim = tuple[Hashable, str, Path]
"""A thing, how people name it, and where it is claimed."""


def claimed_twice(spec: Spec, document: Document) -> Iterator[Problem]:
    for claims in (_ids(spec), _vfs(spec), _bond_names(spec), _sockets(spec), _mounts(spec)):
        yield from _one_owner(document, claims)


def _one_owner(document: Document, claims: Iterable[Claim]) -> Iterator[Problem]:
    owners: dict[Hashable, Path] = {}
    told: set[Path] = set()
    for thing, name, path in claims:
        owner = owners.setdefault(thing, path)
        if owner != path and path not in told:
            told.add(path)
            where = at(document.place(owner), document.place(path))
            message = f"{name} belongs to {_owner_at(document, owner)} already ({where}); give each its own"
            yield document.problem(path, message)


def _owner_at(document: Document, path: Path) -> str:
    """How people name what stands here: a relay by its id, unless the id is what is claimed twice."""
    number = document.at((*path[:2], "id"))
    if isinstance(number, Scalar) and path[2:] != ("id",):
        return f"relay {number.value}"
    return dotted(document.as_written(path[:2]))


def _ids(spec: Spec) -> Iterator[Claim]:
    for index, relay in enumerate(spec.relays):
        yield relay.id, f"id {relay.id}", ("relays", index, "id")


def _vfs(spec: Spec) -> Iterator[Claim]:
    for index, relay in enumerate(spec.relays):
        if relay.vf is not None:
            yield from _vf(relay.vf, ("relays", index, "vf"))
        for member, port in enumerate(relay.bond.members if relay.bond is not None else ()):
            yield from _vf(port, ("relays", index, "bond", "members", member))


def _vf(port: Port, path: Path) -> Iterator[Claim]:
    yield port.name, port.name, path
    yield from ((thing, thing, path) for thing in below(port))


def _bond_names(spec: Spec) -> Iterator[Claim]:
    for index, relay in enumerate(spec.relays):
        if relay.bond is not None:
            yield relay.bond.name, relay.bond.name, ("relays", index, "bond", "name")


def _sockets(spec: Spec) -> Iterator[Claim]:
    ids = Counter(relay.id for relay in spec.relays)
    for index, relay in enumerate(spec.relays):
        path = socket_path(spec.vhost_user, relay)
        name = f"the socket {shorten(path, 110)}"
        if relay.socket is not None:
            yield path, name, ("relays", index, "socket")
        elif ids[relay.id] == 1:
            # Where an id stands twice its template path does too, and the id alone is worth a sentence.
            yield path, name, ("relays", index)
    for place, endpoint in endpoints(spec):
        yield endpoint.path, f"the socket {shorten(endpoint.path, 110)}", place


def _mounts(spec: Spec) -> Iterator[Claim]:
    for index, entry in enumerate(spec.hugepages):
        yield entry.mount, entry.mount, ("hugepages", index, "mount")
