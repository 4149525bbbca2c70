"""Whether a relay does what it is there for, in one word and one sentence."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from engine.api.client import Observation
from reconciler.observe.snapshot import HostSnapshot
from reconciler.planning.host_plan import missing_words
from reconciler.policy.removal_guards import HeldBack
from schema.model import Pin

Fault = tuple[str, bool]
"""What is wrong, and whether the relay only waits."""


class Condition(enum.StrEnum):
    READY = "Ready"
    """Packets can pass both ways."""
    PENDING = "Pending"
    """Not live yet, or no guest is there: nothing is broken."""
    DEGRADED = "Degraded"
    """Live, but something is broken."""


PORT_FACTS = ("mac", "mtu", "promiscuous", "driver", "numa", "buffers")


@dataclass(frozen=True, slots=True)
class RelayStatus:
    """One line of `vio4wd status`."""

    id: int
    vf: str
    link: str
    """`up`, `down`, `gone`, or empty when it is not live."""
    socket: str
    guest: bool
    cpus: tuple[int, int] | None
    """VF to VM, VM to VF."""
    condition: Condition
    message: str
    shard: int = 0
    """The engine process that it is on, or is to be on."""
    members: tuple[Mapping[str, Any], ...] = ()
    """A bond's: each with `name`, `link` (`up`, `down`) and `active`."""
    port: Mapping[str, Any] = field(default_factory=dict)
    """Of what is polled, as far as there is something to say: see PORT_FACTS. Empty when it is not live."""
    migrating: bool = False
    """Whether its guest is on its way to another host."""
    since: float | None = None
    """When it came into this condition, in seconds since 1970; None when no watch has seen it so."""
    owner: str = "file"
    """Who wants it."""


def relay_statuses(snapshot: HostSnapshot, report: Mapping[str, Any] | None) -> list[RelayStatus]:
    """All relays that are live or in force, sorted. `report` is the watch loop's, if there is one."""
    wanted = ((report or {}).get("in_force") or {}).get("relays") or {}
    faults = _faults(report)
    held = {each["resource"]: HeldBack(**each) for each in (report or {}).get("held") or ()}
    homes = snapshot.live
    found = []
    for id_ in sorted({int(id_) for id_ in wanted} | set(homes)):
        if id_ in homes:
            unwanted = bool(report) and str(id_) not in wanted and f"relay:{id_}" not in held
            found.append(_live(id_, homes[id_], snapshot.seen[homes[id_]], faults.get(id_), unwanted))
        else:
            shard = snapshot.remembered.get(id_, 0)
            found.append(_missing(id_, shard, wanted[str(id_)], faults.get(id_), _absence(shard, snapshot)))
    owned = [replace(each, owner=wanted.get(str(each.id), {}).get("owner", each.owner)) for each in found]
    return [_held_back(each, held.get(f"relay:{each.id}")) for each in owned]


def _held_back(status: RelayStatus, held: HeldBack | None) -> RelayStatus:
    """Forwarding as before is not what the spec wants of it."""
    if held is None:
        return status
    condition = Condition.PENDING if status.condition is Condition.READY else status.condition
    return replace(status, condition=condition, message=str(held))


def _faults(report: Mapping[str, Any] | None) -> dict[int, Fault]:
    outcomes: Iterable[Mapping[str, Any]] = ((report or {}).get("last_apply") or {}).get("relays") or ()
    return {int(o["relay"]): (str(o["message"]), bool(o.get("pending"))) for o in outcomes if not o["applied"]}


def _absence(shard: int, snapshot: HostSnapshot) -> str:
    """Why what belongs on this shard can't be live; empty when its engine is ready."""
    if shard in snapshot.seen:
        return ""
    if not snapshot.seen and not snapshot.silent:
        return "no engine answers"
    return snapshot.silent.get(shard, missing_words(shard))


def _live(id_: int, shard: int, observed: Observation, fault: Fault | None, unwanted: bool) -> RelayStatus:
    relay = observed.state.relays[id_]
    port = observed.live.get("ports", {}).get(relay.port, {})
    socket = observed.live.get("sockets", {}).get(relay.socket, {})
    guest, migrating = bool(socket.get("guest")), bool(socket.get("migrating"))
    link = str(port.get("link", "")) if port.get("present", True) else "gone"
    pin = observed.state.pins.get(relay.id)
    members = tuple(port.get("members", ()))
    well = link == "up" and not unwanted
    wrong = _members_wrong(members) or _renamed(port) or _astray(pin, observed) or _far(port, socket)
    said = (fault[0] if fault else None) or (wrong if well else None)
    if said is None and not unwanted and not socket.get("reachable", True):
        how = socket.get("in_the_way") or "was removed or replaced"
        said = f"{relay.socket} {how}: a guest that is connected goes on, no other finds it; remove what lies there"
    if said is None and not guest and "shut" in socket:
        said = f"{relay.socket}: {socket['shut']}"
    condition, message = _judged(link, guest, said, unwanted)
    if condition is Condition.PENDING and socket.get("in_the_way"):
        message = f"{message}; {socket['in_the_way']}"
    cpus = (pin.vf_to_vm, pin.vm_to_vf) if pin is not None else None
    facts = {name: port[name] for name in PORT_FACTS if name in port}
    return RelayStatus(
        relay.id, relay.port, link, relay.socket, guest, cpus, condition, message, shard, members, facts, migrating
    )


def _members_wrong(members: tuple[Mapping[str, Any], ...]) -> str | None:
    """What is wrong with a bond whose link is up."""
    down = [str(member["name"]) for member in members if member["link"] == "down"]
    if members and not any(member["active"] for member in members):
        return "no member of the bond is active; with 802.3ad the other side has to be a link aggregation too"
    return f"the link of {' and '.join(down)} is down; the bond goes on without" if down else None


def _renamed(port: Mapping[str, Any]) -> str | None:
    """Says what an interface is called by now, by which it would not be found again."""
    for spec, now in port.get("renamed", {}).items():
        return (
            f"the network interface {spec} is called {now} now: it goes on being polled, but would not be found again; "
            f"rename it back (ip link set {now} name {spec}), or name {now} in the spec"
        )
    return None


def _astray(pin: Pin | None, observed: Observation) -> str | None:
    """Says that a worker does not run where it is to."""
    workers = observed.live.get("workers", {})
    for cpu in sorted({pin.vf_to_vm, pin.vm_to_vf} if pin is not None else ()):
        said = workers.get(str(cpu), {}).get("astray")
        if said:
            return f"{said}: allow it CPU {cpu} (a cpuset, or the CPU is offline), or move the relay to other CPUs"
    return None


def _far(port: Mapping[str, Any], socket: Mapping[str, Any]) -> str | None:
    """Says that the packet buffers could not follow the guest's memory."""
    node = socket.get("node")
    if node is None or node != port.get("short_of"):
        return None
    return (
        f"numa: guest on node {node}, buffers on node {port['buffers']}: no free hugepages there when it connected; "
        f"reserve more in /sys/devices/system/node/node{node}/hugepages, then connect the guest again"
    )


def _judged(link: str, guest: bool, fault: str | None, unwanted: bool) -> tuple[Condition, str]:
    if fault is not None:
        return Condition.DEGRADED, fault
    if unwanted:
        return Condition.DEGRADED, "live, but not in the spec in force"
    if link == "gone":
        return Condition.DEGRADED, "the VF is gone; it is used again when it is back"
    if link == "down":
        return Condition.DEGRADED, "the VF's link is down"
    if not guest:
        return Condition.PENDING, "no guest is connected"
    return Condition.READY, ""


def _missing(id_: int, shard: int, wanted: Mapping[str, Any], fault: Fault | None, absence: str) -> RelayStatus:
    message, pending = fault or ("not applied yet", True)
    condition = Condition.PENDING if absence or pending else Condition.DEGRADED
    vf, socket = str(wanted["port"]), str(wanted["socket"])
    return RelayStatus(id_, vf, "", socket, False, None, condition, absence or message, shard)
