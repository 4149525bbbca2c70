"""What a schema cannot say: what must fit together.

Each rule takes a spec that holds against the schema, and the document that it came from for the positions. Where two
places disagree, the problem stands at one and names the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields

from schema.model import MAX_RELAYS
from schema.nodes import Document, Path, Place, Problem, Scalar, shorten
from schema.rules.claims import claimed_twice
from schema.spec import ENDPOINTS, PortControlSpec, Spec, endpoints, socket_path, template_path
from schema.vf import is_pci
from schema.yaml12 import at

MAX_SOCKET_PATH_BYTES = 107
"""sun_path of sockaddr_un (unix(7)) without the terminating zero."""

MAX_ALB_NAME = 21
"""RTE_MEMPOOL_NAMESIZE without the terminating zero and without the suffix `_ALB`."""

_WORKERS: Path = ("engine", "worker_cpus")
_MAIN: Path = ("engine", "main_cpu")


def errors(spec: Spec, document: Document) -> tuple[Problem, ...]:
    """Why the spec cannot be."""
    return _all(
        spec,
        document,
        sources,
        claimed_twice,
        _bond_as_vf,
        _alb_names,
        _cpus,
        _main_cpu,
        _paths,
        _own_sockets,
        _template_sockets,
        _tso,
        _bind,
        _reserves,
        dynamic_sockets,
        one_port_control,
        pins,
    )


def warnings(spec: Spec, document: Document) -> tuple[Problem, ...]:
    """What works, but hardly as it is meant."""
    return _all(spec, document, _shared_main_cpu)


Rule = Callable[[Spec, Document], Iterator[Problem]]


def _all(spec: Spec, document: Document, *rules: Rule) -> tuple[Problem, ...]:
    return tuple(sorted({problem for rule in rules for problem in rule(spec, document)}))


def _bond_as_vf(spec: Spec, document: Document) -> Iterator[Problem]:
    for index, relay in enumerate(spec.relays):
        members = relay.bond.members if relay.bond is not None else ()
        ports = [(("bond", "members", member), port) for member, port in enumerate(members)]
        for path, port in [(("vf",), relay.vf), *ports]:
            if port is not None and port.name.startswith("net_bonding"):
                message = f"{port.name} is a bond, not a VF; write it under the key bond"
                yield document.problem(("relays", index, *path), message)


def _alb_names(spec: Spec, document: Document) -> Iterator[Problem]:
    for index, relay in enumerate(spec.relays):
        if relay.bond is not None and relay.bond.mode == "alb" and len(relay.bond.name) > MAX_ALB_NAME:
            message = (
                f"with mode alb the name of a bond has up to {MAX_ALB_NAME} characters, not {len(relay.bond.name)}, "
                "because DPDK makes a pool of packet buffers of that name; shorten it"
            )
            yield document.problem(("relays", index, "bond", "name"), message)


def _cpus(spec: Spec, document: Document) -> Iterator[Problem]:
    workers = spec.engine.worker_cpus
    allowed = ", ".join(str(worker) for worker in workers)
    for index, relay in enumerate(spec.relays):
        for position, cpu in enumerate(dict.fromkeys(relay.cpus or ())):
            if cpu not in workers:
                path: Path = ("relays", index, "cpus", position)
                where = _where(document, _WORKERS, path)
                message = f"CPU {cpu} is not among engine.worker_cpus ({where}); take one of {allowed}, or add it there"
                yield document.problem(path, message)


def _where(document: Document, path: Path, seen_from: Path) -> str:
    if document.at(path) is None:
        return "by default"
    return at(document.place(path), document.place(seen_from))


def _main_cpu(spec: Spec, document: Document) -> Iterator[Problem]:
    if spec.engine.idle == "busy":
        what_then = "with idle: busy a worker leaves it no time, so give it another CPU"
        yield from _main_cpu_works(spec, document, what_then)


def _shared_main_cpu(spec: Spec, document: Document) -> Iterator[Problem]:
    if spec.engine.idle != "busy":
        yield from _main_cpu_works(spec, document, "they share its time; give it another CPU for full speed")


def _main_cpu_works(spec: Spec, document: Document, what_then: str) -> Iterator[Problem]:
    cpu = spec.engine.main_cpu
    if cpu not in spec.engine.worker_cpus:
        return
    path, other = (_MAIN, _WORKERS) if document.at(_MAIN) is not None else (_WORKERS, _MAIN)
    where = _where(document, other, path)
    yield document.problem(path, f"CPU {cpu} is engine.main_cpu and in engine.worker_cpus ({where}); {what_then}")


def _paths(spec: Spec, document: Document) -> Iterator[Problem]:
    paths: list[Path] = [("relays", index, "socket") for index in range(len(spec.relays))]
    paths += [("port_control", "ovsdb", "socket"), ("port_control", "ipc", "file")]
    paths += [(*path, "endpoint") for path in ENDPOINTS]
    paths += [("vhost_user", "directory"), *(("hugepages", index, "mount") for index in range(len(spec.hugepages)))]
    for path in paths:
        node = document.at(path)
        if isinstance(node, Scalar) and ".." in node.text.split("/"):
            yield document.problem(path, "'..' is not allowed in a path; write where it leads to")


def _own_sockets(spec: Spec, document: Document) -> Iterator[Problem]:
    """Those that are written out."""
    ovsdb = spec.port_control.ovsdb
    written: list[tuple[Path, str | None]] = [
        *((("relays", index, "socket"), relay.socket) for index, relay in enumerate(spec.relays)),
        *((path, endpoint.path) for path, endpoint in endpoints(spec)),
        (("port_control", "ovsdb", "socket"), ovsdb.socket if ovsdb is not None else None),
    ]
    for path, socket in written:
        node = document.at(path)
        if socket is None or not isinstance(node, Scalar):
            continue
        if node.text.rpartition("/")[2] in ("", "."):
            yield document.problem(path, "ends in a directory; add the socket's name")
        elif message := _too_long(socket):
            yield document.problem(path, message)


def _template_sockets(spec: Spec, document: Document) -> Iterator[Problem]:
    """Said once for all relays, where the template is."""
    paths = [socket_path(spec.vhost_user, relay) for relay in spec.relays if relay.socket is None]
    if spec.vhost_user.template_sockets:
        paths.append(template_path(spec.vhost_user, MAX_RELAYS - 1))
    if message := _too_long(max(paths, key=len, default="")):
        key = "directory" if document.at(("vhost_user", "directory")) is not None else "name"
        yield document.problem(("vhost_user", key), message)


def _too_long(path: str) -> str | None:
    size = len(path.encode())
    if size <= MAX_SOCKET_PATH_BYTES:
        return None
    return f"the socket's path {shorten(path, 60)} has {size} bytes, and {MAX_SOCKET_PATH_BYTES} fit; shorten it"


def _reserves(spec: Spec, document: Document) -> Iterator[Problem]:
    """What stands for all nodes and what stands for each can't be added up."""
    first: dict[str, int] = {}
    for index, entry in enumerate(spec.hugepages):
        other = first.setdefault(entry.page_size, index)
        if isinstance(entry.reserve, int) is not isinstance(spec.hugepages[other].reserve, int):
            path: Path = ("hugepages", index, "reserve")
            where = _where(document, ("hugepages", other, "reserve"), path)
            message = f"pages of {entry.page_size} are reserved both in all and by node ({where}); write both by node"
            yield document.problem(path, message)


def sources(spec: Spec, document: Document) -> Iterator[Problem]:
    """What is wrong with the sources by themselves."""
    first: dict[str, int] = {}
    for index, source in enumerate(spec.sources):
        place: Path = ("sources", index)
        if first.setdefault(source.name, index) != index:
            where = at(document.place(("sources", first[source.name])), document.place(place))
            yield document.problem(place, f"{source.name} stands twice, first at {where}; remove one of them")
        for path in ("directory", "path"), ("git", "path"), ("git", "allowed_signers"):
            node = document.at((*place, *path))
            if isinstance(node, Scalar) and ".." in node.text.split("/"):
                yield document.problem((*place, *path), "'..' is not allowed in a path; write where it leads to")


def _tso(spec: Spec, document: Document) -> Iterator[Problem]:
    """VirtIO 1.2, 5.1.3.1: VIRTIO_NET_F_HOST_TSO4 and _TSO6 require VIRTIO_NET_F_CSUM."""
    if spec.vhost_user.tso and not spec.vhost_user.csum:
        message = "needs csum, since each segment gets a checksum of its own; add csum: true beside it"
        yield document.problem(("vhost_user", "tso"), message)


def _bind(spec: Spec, document: Document) -> Iterator[Problem]:
    for index, relay in enumerate(spec.relays):
        if relay.bind and not any(is_pci(port) for port in relay.ports):
            message = "only a PCI function can be bound, and this relay has virtual devices only; remove the key"
            yield document.problem(("relays", index, "bind"), message)


def dynamic_sockets(spec: Spec, document: Document) -> Iterator[Problem]:
    if spec.vhost_user.dynamic_sockets and spec.vhost_user.template_sockets:
        message = "does not go together with template_sockets; sockets either exist from the start or come on request"
        yield document.problem(("vhost_user", "dynamic_sockets"), message)


def one_port_control(spec: Spec, document: Document) -> Iterator[Problem]:
    """virtio-forwarder had one at a time, and who wants what would depend on who came first."""
    frontends = [("port_control", field.name) for field in fields(PortControlSpec)]
    given = [path for path in frontends if getattr(spec.port_control, path[1]) is not None]
    ordered = sorted(given, key=lambda path: _order(document.key_place(path)))
    for path in ordered[1:]:
        first, place = ordered[0], document.key_place(path)
        where = at(document.key_place(first), place)
        message = f"there is one port control only, and {first[1]} is given already ({where}); remove one of them"
        yield document.problem(path, message, place)


def _order(place: Place) -> tuple[str, int, int]:
    return place.file, place.line, place.column


def pins(spec: Spec, document: Document) -> Iterator[Problem]:
    first: dict[int, int] = {}
    for index, pin in enumerate(spec.pins):
        path: Path = ("pins", index, "relay")
        if first.setdefault(pin.relay, index) != index:
            where = at(document.place(("pins", first[pin.relay])), document.place(path))
            yield document.problem(path, f"relay {pin.relay} has CPUs already ({where}); remove one of them")
        for position, cpu in enumerate(dict.fromkeys(pin.cpus)):
            if cpu not in spec.engine.worker_cpus:
                allowed = ", ".join(str(worker) for worker in spec.engine.worker_cpus)
                message = f"CPU {cpu} is not among engine.worker_cpus; take one of {allowed}, or add it there"
                yield document.problem(("pins", index, "cpus", position), message)
