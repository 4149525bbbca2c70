"""The part of a spec for those who have used virtio-forwarder: its ways in, its services, and what goes with them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import TYPE_CHECKING

from schema.document.nodes import Document, Path, Place
from schema.document.problem import Problem
from schema.document.yaml12 import at
from schema.spec import EndpointSpec, PortControlSpec

if TYPE_CHECKING:
    from schema.spec import Spec


ENDPOINTS: tuple[Path, ...] = (
    ("port_control", "zmq"),
    ("services", "stats"),
    ("services", "config"),
    ("services", "core_sched"),
)


def endpoints(spec: Spec) -> Iterator[tuple[Path, EndpointSpec]]:
    """Those that are given, and where."""
    given = (spec.port_control.zmq, spec.services.stats, spec.services.config, spec.services.core_sched)
    for path, endpoint in zip(ENDPOINTS, given, strict=True):
        if endpoint is not None:
            yield (*path, "endpoint"), endpoint


# ---- rules -----------------------------------------------------------------------------------------------------------


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


RULES = (dynamic_sockets, one_port_control, pins)
