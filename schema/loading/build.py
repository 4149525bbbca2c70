"""A document that holds against the schema, as values."""

from __future__ import annotations

from typing import Any

from schema.paths import normal_path
from schema.spec import (
    BalanceSpec,
    BondSpec,
    DirectorySpec,
    EndpointSpec,
    EngineSpec,
    GitSpec,
    HugepagesSpec,
    IpcSpec,
    LibvirtSpec,
    OvsdbSpec,
    PinSpec,
    PortControlSpec,
    RelaySpec,
    ServicesSpec,
    SourceSpec,
    Spec,
    VhostUserSpec,
)
from schema.vf import is_pci, parse_vf


def build(value: dict[str, Any], text: str, sha256: str) -> Spec:
    """The spec without its warnings. `value` must have passed `schema.rules.check`."""
    return Spec(
        engine=_engine(value.get("engine", {})),
        vhost_user=_vhost_user(value.get("vhost_user", {})),
        relays=tuple(_relay(relay) for relay in value.get("relays", [])),
        hugepages=tuple(_hugepages(entry) for entry in value.get("hugepages", [])),
        drift=value.get("drift", "repair"),
        allow_destroy=tuple(value.get("allow_destroy", [])),
        sources=tuple(_source(entry) for entry in value.get("sources", [])),
        **built(value),
        text=text,
        sha256=sha256,
    )


def _engine(value: dict[str, Any]) -> EngineSpec:
    cpus = {"worker_cpus": tuple(value["worker_cpus"])} if "worker_cpus" in value else {}
    token = value.get("vfio_vf_token")
    return EngineSpec(**{**value, **cpus, "vfio_vf_token": token.lower() if token is not None else None})


def _vhost_user(value: dict[str, Any]) -> VhostUserSpec:
    given = dict(value)
    if "permissions" in given:
        given["permissions"] = int(given["permissions"], 8)
    if "directory" in given:
        given["directory"] = normal_path(given["directory"])
    return VhostUserSpec(**given)


def _hugepages(value: dict[str, Any]) -> HugepagesSpec:
    reserve = value["reserve"]
    return HugepagesSpec(
        mount=normal_path(value["mount"]),
        page_size=value["page_size"],
        reserve=tuple(reserve) if isinstance(reserve, list) else reserve,
        libvirt=_libvirt(value["libvirt"]) if value.get("libvirt") is not None else None,
    )


def _libvirt(value: dict[str, Any]) -> LibvirtSpec:
    permissions = {"permissions": int(value["permissions"], 8)} if "permissions" in value else {}
    return LibvirtSpec(**{**value, **permissions})


def _source(value: dict[str, Any]) -> SourceSpec:
    if "git" in value:
        return GitSpec(**value["git"])
    return DirectorySpec(normal_path(value["directory"]["path"]))


def _relay(value: dict[str, Any]) -> RelaySpec:
    socket = value.get("socket")
    cpus = value.get("cpus")
    return RelaySpec(
        id=value["id"],
        vf=parse_vf(value["vf"]) if "vf" in value else None,
        bond=_bond(value["bond"]) if "bond" in value else None,
        socket=normal_path(socket) if socket is not None else None,
        cpus=(cpus[0], cpus[-1]) if cpus is not None else None,
        mtu=value.get("mtu"),
        queues=value.get("queues", 1),
        descriptors=value.get("descriptors", 1024),
        packed=value.get("packed", False),
        bind=value.get("bind", False),
        protect=value.get("protect", False),
    )


def _bond(value: dict[str, Any]) -> BondSpec:
    members = tuple(parse_vf(member) for member in value["members"])
    return BondSpec(**{**value, "members": members})


def built(value: dict[str, Any]) -> dict[str, Any]:
    """The fields of `Spec` that are of this part. `value` must have passed `schema.rules.check`."""
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
