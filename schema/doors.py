"""The part of a spec for those who have used virtio-forwarder: its ways in, its services, and what goes with them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from schema.nodes import Document, Path, Place
from schema.paths import normal_path
from schema.problem import Problem
from schema.vf import is_pci, parse_vf
from schema.yaml12 import at

if TYPE_CHECKING:
    from schema.spec import Spec


@dataclass(frozen=True, slots=True)
class EndpointSpec:
    """A ZeroMQ endpoint, and whose its socket file is."""

    endpoint: str
    owner: str | None = None
    group: str | None = None
    permissions: int = 0o660

    @property
    def path(self) -> str:
        """Of its socket file."""
        return self.endpoint.removeprefix("ipc://")


@dataclass(frozen=True, slots=True)
class OvsdbSpec:
    socket: str = "/usr/local/var/run/openvswitch/db.sock"
    """Where Open vSwitch's database server listens."""


@dataclass(frozen=True, slots=True)
class IpcSpec:
    file: str = "/tmp/vio_cmd"
    """Where commands are put."""


@dataclass(frozen=True, slots=True)
class PortControlSpec:
    """At most one of them, in a loaded spec."""

    zmq: EndpointSpec | None = None
    ovsdb: OvsdbSpec | None = None
    ipc: IpcSpec | None = None


@dataclass(frozen=True, slots=True)
class ServicesSpec:
    stats: EndpointSpec | None = None
    config: EndpointSpec | None = None
    core_sched: EndpointSpec | None = None


@dataclass(frozen=True, slots=True)
class BalanceSpec:
    override: bool = False
    """Whether relays that have cpus of their own may be moved from outside too."""


@dataclass(frozen=True, slots=True)
class PinSpec:
    """CPUs of a relay that is not in the spec."""

    relay: int
    cpus: tuple[int, int]


NO_DOOR, NO_SERVICES, NO_BALANCE = PortControlSpec(), ServicesSpec(), BalanceSpec()


def built(value: dict[str, Any]) -> dict[str, Any]:
    """The fields of `Spec` that are of this part. `value` must have passed `schema.check`."""
    services = {name: _endpoint(given) for name, given in value.get("services", {}).items()}
    return {
        "port_control": _port_control(value.get("port_control", {})),
        "services": ServicesSpec(**services),
        "balance": BalanceSpec(**value.get("balance", {})),
        "pins": tuple(PinSpec(pin["relay"], (pin["cpus"][0], pin["cpus"][-1])) for pin in value.get("pins", [])),
        "bind_vfs": tuple(_bind_vf(each) for each in value.get("bind_vfs", [])),
    }


def _port_control(value: dict[str, Any]) -> PortControlSpec:
    ovsdb, ipc = value.get("ovsdb"), value.get("ipc")
    return PortControlSpec(
        _endpoint(value.get("zmq")),
        OvsdbSpec(**{key: normal_path(path) for key, path in ovsdb.items()}) if ovsdb is not None else None,
        IpcSpec(**{key: normal_path(path) for key, path in ipc.items()}) if ipc is not None else None,
    )


def _endpoint(value: dict[str, Any] | None) -> EndpointSpec | None:
    if value is None:
        return None
    path = normal_path(value["endpoint"].removeprefix("ipc://"))
    permissions = int(value.get("permissions", "0660"), 8)
    return EndpointSpec(**{**value, "endpoint": f"ipc://{path}", "permissions": permissions})


def _bind_vf(text: str) -> str:
    """A PCI address in its canonical form; everything else as it is."""
    try:
        port = parse_vf(text)
    except ValueError:
        return text
    return port.name if is_pci(port) else text


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
    doors = [("port_control", field.name) for field in fields(PortControlSpec)]
    given = [path for path in doors if getattr(spec.port_control, path[1]) is not None]
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
