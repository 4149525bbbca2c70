"""One owner for each id, VF and what lies below it, bond, socket path and mount; a second claim is refused and names
the first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from schema.claims import Claim, bare, placed, socket
from schema.document.nodes import Document, Path, Scalar, dotted, shorten
from schema.document.problem import Problem
from schema.document.yaml12 import at
from schema.rules.frontends import endpoints
from schema.spec import Spec


def claimed_twice(spec: Spec, document: Document) -> Iterator[Problem]:
    owners: dict[Claim, Path] = {}
    told: set[Path] = set()
    for claim, path in _claims(spec):
        owner = owners.setdefault(claim, path)
        if owner != path and path not in told:
            told.add(path)
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
