"""A PCI function of the host: bound to vfio-pci before its port is added, given back when nobody polls it any more."""

from __future__ import annotations

from schema.model import Action, Impact, Kind, Verb, Vf


def add(after: Vf, relay: int | None) -> Action:
    reason = f"{_who(relay)} has it bound by vio4wd"
    return Action(Verb.ADD, Kind.VF, after.address, relay, None, after, Impact.NONE, reason)


def _who(relay: int | None) -> str:
    return f"relay {relay}" if relay is not None else "bind_vfs"


def remove(before: Vf, relay: int | None) -> Action:
    """Comes after its port has gone, so it costs nobody anything any more."""
    reason = "vio4wd had bound it, and no relay of the spec uses it"
    return Action(Verb.REMOVE, Kind.VF, before.address, relay, before, None, Impact.NONE, reason)


def change(before: Vf, after: Vf, relay: int | None) -> Action:
    """Somebody else has bound it to another driver, or it was plugged in again."""
    reason = f"{_who(relay)} has it bound by vio4wd, and it was taken away"
    return Action(Verb.REPLACE, Kind.VF, after.address, relay, before, after, Impact.NONE, reason)
