"""Whether a relay does what it is there for, in one word and one sentence."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from engine.client import Observation
from schema.model import Relay


class Condition(enum.StrEnum):
    READY = "Ready"
    """Packets can pass both ways."""
    PENDING = "Pending"
    """Not live yet, or no guest is there: nothing is broken."""
    DEGRADED = "Degraded"
    """Live, but something is broken."""


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


def relay_statuses(observed: Observation | None, report: Mapping[str, Any] | None) -> list[RelayStatus]:
    """All relays that are live or in force, sorted. `report` is the watch loop's, if there is one."""
    wanted = ((report or {}).get("in_force") or {}).get("relays") or {}
    faults = _faults(report)
    live = dict(observed.state.relays) if observed is not None else {}
    ids = sorted({int(id_) for id_ in wanted} | set(live))
    return [
        _live(live[id_], observed, faults.get(id_), bool(report) and str(id_) not in wanted)
        if id_ in live and observed is not None
        else _missing(id_, wanted[str(id_)], faults.get(id_), observed is not None)
        for id_ in ids
    ]


def _faults(report: Mapping[str, Any] | None) -> dict[int, str]:
    outcomes: Iterable[Mapping[str, Any]] = ((report or {}).get("last_apply") or {}).get("relays") or ()
    return {int(o["relay"]): str(o["message"]) for o in outcomes if not o["applied"]}


def _live(relay: Relay, observed: Observation, fault: str | None, unwanted: bool) -> RelayStatus:
    port = observed.live.get("ports", {}).get(relay.port, {})
    guest = bool(observed.live.get("sockets", {}).get(relay.socket, {}).get("guest"))
    link = str(port.get("link", "")) if port.get("present", True) else "gone"
    pin = observed.state.pins.get(relay.id)
    condition, message = _judged(link, guest, fault, unwanted)
    cpus = (pin.vf_to_vm, pin.vm_to_vf) if pin is not None else None
    return RelayStatus(relay.id, relay.port, link, relay.socket, guest, cpus, condition, message)


def _judged(link: str, guest: bool, fault: str | None, unwanted: bool) -> tuple[Condition, str]:
    if fault is not None:
        return Condition.DEGRADED, fault
    if unwanted:
        return Condition.DEGRADED, "live, but not in the spec in force"
    if link == "gone":
        return Condition.DEGRADED, "the VF is gone"
    if link == "down":
        return Condition.DEGRADED, "the VF's link is down"
    if not guest:
        return Condition.PENDING, "no guest is connected"
    return Condition.READY, ""


def _missing(id_: int, wanted: Mapping[str, Any], fault: str | None, engine: bool) -> RelayStatus:
    message = fault or ("not applied yet" if engine else "no engine answers")
    condition = Condition.DEGRADED if fault else Condition.PENDING
    return RelayStatus(id_, str(wanted["port"]), "", str(wanted["socket"]), False, None, condition, message)
