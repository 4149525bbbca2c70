"""What a schema cannot say: what belongs to one owner only, what must fit together, what works not yet.

Each rule takes a spec that holds against the schema, and the document that it came from for the positions. Where two
places disagree, the problem stands at the later one and names the earlier.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator

from schema.nodes import Document, Path, Scalar, shorten
from schema.problem import Problem
from schema.spec import RelaySpec, Spec, socket_path
from schema.yaml12 import at

MAX_SOCKET_PATH_BYTES = 107
"""sun_path of sockaddr_un (unix(7)) without the terminating zero."""

Rule = Callable[[Spec, Document], Iterator[Problem]]


def errors(spec: Spec, document: Document) -> tuple[Problem, ...]:
    return _all(spec, document, _ids, _vfs, _bond_names, _bond_as_vf, _cpus, _main_cpu, _paths, _path_lengths, _sockets, _mounts)


def warnings(spec: Spec, document: Document) -> tuple[Problem, ...]:
    return _all(spec, document, _shared_main_cpu)


def unsupported(spec: Spec, document: Document) -> tuple[Problem, ...]:
    return _all(spec, document, _bonds, _hugepages, _client_mode)


def _all(spec: Spec, document: Document, *rules: Rule) -> tuple[Problem, ...]:
    return tuple(sorted({problem for rule in rules for problem in rule(spec, document)}))


def _one_owner(document: Document, claims: Iterable[tuple[Hashable, str, Path]]) -> Iterator[Problem]:
    """A problem for each claim of what an earlier claim holds; a claim is the thing, its name and where it stands."""
    holders: dict[Hashable, Path] = {}
    for thing, name, path in claims:
        if thing not in holders:
            holders[thing] = path
            continue
        holder = holders[thing]
        where = at(document.place(holder), document.place(path))
        yield document.problem(path, f"{name} belongs to {_relay_at(document, holder)} already ({where}); give it another")


def _relay_at(document: Document, path: Path) -> str:
    """How people name what stands at this path: by the relay's id, where there is one."""
    if path[0] != "relays":
        return f"{path[0]}[{path[1]}]"
    number = document.at((*path[:2], "id"))
    return f"relay {number.value}" if isinstance(number, Scalar) else f"relays[{path[1]}]"


def _ids(spec: Spec, document: Document) -> Iterator[Problem]:
    first: dict[int, int] = {}
    for index, relay in enumerate(spec.relays):
        path: Path = ("relays", index, "id")
        if relay.id in first:
            here = document.place(path)
            there = at(document.place(("relays", first[relay.id], "id")), here)
            yield document.problem(path, f"id {relay.id} is taken by relays[{first[relay.id]}] already ({there}); give it another")
        first.setdefault(relay.id, index)


def _vfs(spec: Spec, document: Document) -> Iterator[Problem]:
    claims: list[tuple[Hashable, str, Path]] = []
    for index, relay in enumerate(spec.relays):
        if relay.vf is not None:
            claims.append((relay.vf.name, relay.vf.name, ("relays", index, "vf")))
        for member, port in enumerate(relay.bond.members if relay.bond is not None else ()):
            claims.append((port.name, port.name, ("relays", index, "bond", "members", member)))
    return _one_owner(document, claims)


def _bond_names(spec: Spec, document: Document) -> Iterator[Problem]:
    return _one_owner(
        document,
        [
            (relay.bond.name, relay.bond.name, ("relays", index, "bond", "name"))
            for index, relay in enumerate(spec.relays)
            if relay.bond is not None
        ],
    )


def _bond_as_vf(spec: Spec, document: Document) -> Iterator[Problem]:
    for index, relay in enumerate(spec.relays):
        ports = [(("vf",), relay.vf)] if relay.vf is not None else []
        members = relay.bond.members if relay.bond is not None else ()
        named: list[tuple[Path, str]] = [(path, port.name) for path, port in ports]
        named += [(("bond", "members", member), port.name) for member, port in enumerate(members)]
        for path, name in named:
            if name.startswith("net_bonding"):
                yield document.problem(("relays", index, *path), f"{name} is a bond, not a VF; write it under the key bond")


def _cpus(spec: Spec, document: Document) -> Iterator[Problem]:
    workers = spec.engine.worker_cpus
    for index, relay in enumerate(spec.relays):
        for position, cpu in enumerate(dict.fromkeys(relay.cpus or ())):
            if cpu not in workers:
                path: Path = ("relays", index, "cpus", position)
                allowed = ", ".join(str(worker) for worker in workers)
                where = _said_where(document, ("engine", "worker_cpus"), path)
                yield document.problem(path, f"CPU {cpu} is not among engine.worker_cpus: {allowed} ({where}); take one of them")


def _said_where(document: Document, path: Path, seen_from: Path) -> str:
    if document.at(path) is None:
        return "the default"
    return at(document.place(path), document.place(seen_from))


def _main_cpu_is_worker(spec: Spec, document: Document, what_then: str) -> Iterator[Problem]:
    engine = spec.engine
    if engine.main_cpu not in engine.worker_cpus:
        return
    main: Path = ("engine", "main_cpu")
    workers: Path = ("engine", "worker_cpus")
    path, other = (workers, main) if document.at(main) is None else (main, workers)
    where = _said_where(document, other, path)
    yield document.problem(path, f"CPU {engine.main_cpu} is both engine.main_cpu and among engine.worker_cpus ({other[1]}: {where}); {what_then}")


def _main_cpu(spec: Spec, document: Document) -> Iterator[Problem]:
    if spec.engine.idle == "busy":
        yield from _main_cpu_is_worker(
            spec, document, "with idle: busy a worker leaves it no time, give them different CPUs"
        )


def _shared_main_cpu(spec: Spec, document: Document) -> Iterator[Problem]:
    if spec.engine.idle != "busy":
        yield from _main_cpu_is_worker(spec, document, "they share its time, give them different CPUs for full speed")


def _paths(spec: Spec, document: Document) -> Iterator[Problem]:
    paths: list[Path] = [("relays", index, "socket") for index in range(len(spec.relays))]
    paths += [("vhost_user", "directory"), *(("hugepages", index, "mount") for index in range(len(spec.hugepages)))]
    for path in paths:
        node = document.at(path)
        if isinstance(node, Scalar) and isinstance(node.value, str) and ".." in node.value.split("/"):
            yield document.problem(path, "'..' is not allowed in a path; write where it leads to")


def _path_lengths(spec: Spec, document: Document) -> Iterator[Problem]:
    for index, relay in enumerate(spec.relays):
        path = socket_path(spec.vhost_user, relay)
        size = len(path.encode())
        if size > MAX_SOCKET_PATH_BYTES:
            where = _where_path_is_said(document, index, relay)
            message = f"the socket's path {shorten(path, 60)} has {size} bytes; at most {MAX_SOCKET_PATH_BYTES} fit, shorten it"
            yield document.problem(where, message)
        elif relay.socket is not None and _names_no_file(document, index):
            yield document.problem(("relays", index, "socket"), "ends in a directory; add the socket's name")


def _where_path_is_said(document: Document, index: int, relay: RelaySpec) -> Path:
    if relay.socket is not None:
        return ("relays", index, "socket")
    keys = (("vhost_user", key) for key in ("directory", "name") if document.at(("vhost_user", key)) is not None)
    return next(keys, ("relays", index))


def _names_no_file(document: Document, index: int) -> bool:
    node = document.at(("relays", index, "socket"))
    return isinstance(node, Scalar) and node.text.rsplit("/", 1)[-1] in ("", ".")


def _sockets(spec: Spec, document: Document) -> Iterator[Problem]:
    claims: list[tuple[Hashable, str, Path]] = []
    for index, relay in enumerate(spec.relays):
        path = socket_path(spec.vhost_user, relay)
        key = "socket" if relay.socket is not None else "id"
        claims.append((path, f"the socket {shorten(path, 110)}", ("relays", index, key)))
    # Two relays of one id have one socket; that is the id's fault and said there.
    doubled = {relay.id for relay in spec.relays if sum(other.id == relay.id for other in spec.relays) > 1}
    return _one_owner(document, [claim for claim in claims if not (claim[2][2] == "id" and _id_in(document, claim[2], doubled))])


def _id_in(document: Document, path: Path, ids: set[int]) -> bool:
    node = document.at(path)
    return isinstance(node, Scalar) and node.value in ids


def _mounts(spec: Spec, document: Document) -> Iterator[Problem]:
    mounts = enumerate(spec.hugepages)
    return _one_owner(document, [(entry.mount, entry.mount, ("hugepages", index, "mount")) for index, entry in mounts])


def _bonds(spec: Spec, document: Document) -> Iterator[Problem]:
    for index, relay in enumerate(spec.relays):
        if relay.bond is not None:
            path: Path = ("relays", index, "bond")
            message = "bonds are not forwarded by this release; give the relay a vf"
            yield document.problem(path, message, document.key_place(path))


def _hugepages(spec: Spec, document: Document) -> Iterator[Problem]:
    if spec.hugepages:
        message = "hugepages are not mounted or reserved by this release; do it on the host and remove the key"
        yield document.problem(("hugepages",), message, document.key_place(("hugepages",)))


def _client_mode(spec: Spec, document: Document) -> Iterator[Problem]:
    if spec.vhost_user.mode == "client":
        message = "client mode does not work in this release; write server and let QEMU connect"
        yield document.problem(("vhost_user", "mode"), message)
