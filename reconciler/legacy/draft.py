"""A spec in the making, from virtio-forwarder's variables, and how it is written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from schema.nodes import shorten


@dataclass(slots=True)
class Draft:
    """What the variables say, as the spec is to say it."""

    engine: dict[str, object] = field(default_factory=dict)
    vhost_user: dict[str, object] = field(default_factory=dict)
    services: dict[str, str] = field(default_factory=dict)
    frontends: dict[str, str] = field(default_factory=dict)
    relays: dict[int, str] = field(default_factory=dict)
    """Static VFs by relay."""
    pins: dict[int, tuple[int, ...]] = field(default_factory=dict)
    bind: list[str] = field(default_factory=list)
    balance: dict[str, object] = field(default_factory=dict)


def _port_control(frontend: str, given: str) -> dict[str, object]:
    if frontend == "zmq":
        return {"zmq": {"endpoint": given}}
    return {"ovsdb": {"socket": given} if given else {}} if frontend == "ovsdb" else {"ipc": {}}


def written(draft: Draft, name: str, remarks: Iterable[object]) -> str:
    """The spec as text, with comments."""
    import yaml

    def section(key: str, value: object, comment: str) -> str:
        dumped = yaml.safe_dump({key: value}, sort_keys=False, default_flow_style=None, width=100)
        return f"# {comment}\n{dumped}\n"

    parts = [f"# Made by vio4wd import from {name}. Check it with: vio4wd validate\n"]
    parts += [f"# Not in here: {shorten(str(remark), 400)}\n" for remark in remarks]
    parts.append("\napiVersion: vio4wd/v1\n\n")
    parts.append(section("engine", draft.engine, "CPUs, log level and VF token"))
    parts.append(section("vhost_user", draft.vhost_user, "The guests' sockets, and what guests are offered"))
    for frontend, given in draft.frontends.items():
        comment = "How VFs are added and removed from outside"
        parts.append(section("port_control", _port_control(frontend, given), comment))
    if draft.services:
        services = {key: {"endpoint": endpoint} for key, endpoint in draft.services.items()}
        parts.append(section("services", services, "virtio-forwarder's other ZeroMQ services"))
    if draft.balance:
        parts.append(section("balance", draft.balance, "The core scheduler may move relays that have CPUs below"))
    loose = {relay: cpus for relay, cpus in draft.pins.items() if relay not in draft.relays}
    if loose:
        pins = [{"relay": relay, "cpus": list(cpus)} for relay, cpus in sorted(loose.items())]
        parts.append(section("pins", pins, "CPUs of relays that port control adds, VF to VM first"))
    others = [device for device in draft.bind if device not in draft.relays.values()]
    if others:
        parts.append(section("bind_vfs", others, "Bound to vfio-pci from the start, relay or not"))
    relays = [_relay_of(draft, id_) for id_ in sorted(draft.relays)]
    parts.append(section("relays", relays, "Static VFs"))
    return "".join(parts)


def _relay_of(draft: Draft, id_: int) -> dict[str, object]:
    relay: dict[str, object] = {"id": id_, "vf": draft.relays[id_]}
    if id_ in draft.pins:
        relay["cpus"] = list(draft.pins[id_])
    if draft.relays[id_] in draft.bind:
        relay["bind"] = True
    return relay
