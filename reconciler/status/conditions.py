"""Whether a relay does what it is there for, in one word and one sentence, and since when that is so."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from engine.api.client import Observation
from engine.api.live import LiveMember, LivePort, LiveSocket
from reconciler.apply.history import LastApply
from reconciler.desired.spec_in_force import RelayInForce
from reconciler.observe.engines import HostSnapshot
from reconciler.planning.host_plan import missing_words
from reconciler.policy.removal_guards import HeldBack
from reconciler.status.report import Condition, Report, Standing, Standings
from schema.model import Pin

Fault = tuple[str, bool]
"""What is wrong, and whether the relay only waits."""


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
    members: tuple[LiveMember, ...] = ()
    """A bond's."""
    port: LivePort | None = None
    """What is polled; None when it is not live."""
    migrating: bool = False
    """Whether its guest is on its way to another host."""
    since: float | None = None
    """When it came into this condition, in seconds since 1970; None when no watch has seen it so."""
    owner: str = "file"
    """Who wants it."""

    def to_json(self) -> dict[str, Any]:
        """Of the port, what there is to say of these: see PORT_FACTS."""
        facts = {name: getattr(self.port, name) for name in PORT_FACTS} if self.port is not None else {}
        return {**asdict(self), "port": {name: fact for name, fact in facts.items() if fact is not None}}


def relay_statuses(snapshot: HostSnapshot, report: Report | None) -> list[RelayStatus]:
    """All relays that are live or in force, sorted. `report` is the watch loop's, if there is one."""
    wanted = report.in_force.relays if report is not None and report.in_force is not None else {}
    faults = _faults(report.last_apply) if report is not None and report.last_apply is not None else {}
    held_back = {each.resource: each for each in (report.held_back if report is not None else ())}
    homes = snapshot.live
    found = []
    for id_ in sorted(wanted.keys() | homes.keys()):
        if id_ in homes:
            unwanted = report is not None and id_ not in wanted and f"relay:{id_}" not in held_back
            found.append(_live(id_, homes[id_], snapshot.observations[homes[id_]], faults.get(id_), unwanted))
        else:
            shard = snapshot.remembered.get(id_, 0)
            found.append(_missing(id_, shard, wanted[id_], faults.get(id_), _absence(shard, snapshot)))
    owned = [replace(each, owner=wanted[each.id].owner) if each.id in wanted else each for each in found]
    return [_held_back(each, held_back.get(f"relay:{each.id}")) for each in owned]


def _held_back(status: RelayStatus, held_back: HeldBack | None) -> RelayStatus:
    """Forwarding as before is not what the spec wants of it."""
    if held_back is None:
        return status
    condition = Condition.PENDING if status.condition is Condition.READY else status.condition
    return replace(status, condition=condition, message=str(held_back))


def _faults(last_apply: LastApply) -> dict[int, Fault]:
    return {each.relay: (each.message, each.pending) for each in last_apply.relays if not each.applied}


def _absence(shard: int, snapshot: HostSnapshot) -> str:
    """Why what belongs on this shard can't be live; empty when its engine is ready."""
    if shard in snapshot.observations:
        return ""
    if not snapshot.observations and not snapshot.silent:
        return "no engine answers"
    return snapshot.silent.get(shard, missing_words(shard))


def _live(id_: int, shard: int, observed: Observation, fault: Fault | None, unwanted: bool) -> RelayStatus:
    relay = observed.state.relays[id_]
    port, socket = observed.live.port(relay.port), observed.live.socket(relay.socket)
    guest, members = socket.guest, port.members
    link = port.link if port.present else "gone"
    pin = observed.state.pins.get(relay.id)
    well = link == "up" and not unwanted
    warning = _members_wrong(members) or _renamed(port) or _astray(pin, observed) or _far(port, socket)
    wrong = (fault[0] if fault else None) or (warning if well else None)
    if wrong is None and not unwanted and not socket.reachable:
        how = socket.in_the_way or "was removed or replaced"
        wrong = f"{relay.socket} {how}: a guest that is connected goes on, no other finds it; remove what lies there"
    if wrong is None and not guest and socket.shut is not None:
        wrong = f"{relay.socket}: {socket.shut}"
    condition, message = _judged(link, guest, wrong, unwanted)
    if condition is Condition.PENDING and socket.in_the_way:
        message = f"{message}; {socket.in_the_way}"
    cpus = (pin.vf_to_vm, pin.vm_to_vf) if pin is not None else None
    known = (shard, members, port, socket.migrating)
    return RelayStatus(relay.id, relay.port, link, relay.socket, guest, cpus, condition, message, *known)


def _members_wrong(members: tuple[LiveMember, ...]) -> str | None:
    """What is wrong with a bond whose link is up."""
    down = [member.name for member in members if member.link == "down"]
    if members and not any(member.active for member in members):
        return "no member of the bond is active; with 802.3ad the other side has to be a link aggregation too"
    return f"the link of {' and '.join(down)} is down; the bond goes on without" if down else None


def _renamed(port: LivePort) -> str | None:
    """Says what an interface is called by now, by which it would not be found again."""
    for spec, now in port.renamed.items():
        return (
            f"the network interface {spec} is called {now} now: it goes on being polled, but would not be found again; "
            f"rename it back (ip link set {now} name {spec}), or name {now} in the spec"
        )
    return None


def _astray(pin: Pin | None, observed: Observation) -> str | None:
    """Says that a worker does not run where it is to."""
    for cpu in sorted({pin.vf_to_vm, pin.vm_to_vf} if pin is not None else ()):
        worker = observed.live.workers.get(cpu)
        if worker is not None and worker.astray:
            remedy = f"allow it CPU {cpu} (a cpuset, or the CPU is offline), or move the relay to other CPUs"
            return f"{worker.astray}: {remedy}"
    return None


def _far(port: LivePort, socket: LiveSocket) -> str | None:
    """Says that the packet buffers could not follow the guest's memory."""
    node = socket.node
    if node is None or node != port.short_of:
        return None
    return (
        f"numa: guest on node {node}, buffers on node {port.buffers}: no free hugepages there when it connected; "
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


def _missing(id_: int, shard: int, wanted: RelayInForce, fault: Fault | None, absence: str) -> RelayStatus:
    message, pending = fault or ("not applied yet", True)
    condition = Condition.PENDING if absence or pending else Condition.DEGRADED
    return RelayStatus(id_, wanted.port, "", wanted.socket, False, None, condition, absence or message, shard)


# ---- since when: what the watch loop remembers from one look to the next ---------------------------------------------


def standings(before: Standings, statuses: Iterable[RelayStatus], now: float) -> Standings:
    """As it is now. A relay whose condition is the word that it was keeps its time, also when the reason is another."""
    found = {}
    for status in statuses:
        since = _since(before.get(status.id), status)
        found[status.id] = Standing(status.condition.value, status.message, now if since is None else since)
    return found


def with_since(statuses: Iterable[RelayStatus], found: Standings) -> list[RelayStatus]:
    """The statuses with the time of those that stand as the watch has seen them."""
    return [replace(status, since=_since(found.get(status.id), status)) for status in statuses]


def _since(known: Standing | None, status: RelayStatus) -> float | None:
    """None: it stood otherwise, or nobody knows how."""
    return known.since if known is not None and known.condition == status.condition else None
