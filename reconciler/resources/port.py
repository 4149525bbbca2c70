"""A port: a VF's PCI function, a virtual device, or a bond of several of these."""

from __future__ import annotations

from dataclasses import fields, replace

from schema.model import Action, Impact, Kind, Port, Verb


def add(after: Port, relay: int | None) -> Action:
    return Action(Verb.ADD, Kind.PORT, after.name, relay, None, after, Impact.NONE, f"relay {relay} needs it")


def remove(before: Port, relay: int | None) -> Action:
    """Comes after its relay has gone or moved on, so it costs nobody anything any more."""
    reason = "no relay of the spec uses it"
    return Action(Verb.REMOVE, Kind.PORT, before.name, relay, before, None, Impact.NONE, reason)


def change(before: Port, after: Port, relay: int | None) -> Action:
    """A bond's members come and go while it lives. All else is set when a device is attached; its relay drains
    meanwhile."""
    if after.bond_mode and replace(before, members=after.members) == after:
        return Action(
            Verb.UPDATE,
            Kind.PORT,
            after.name,
            relay,
            before,
            after,
            _impact(before, after),
            _joined_and_left(before, after),
        )
    reason = f"{_set_when_attached(before, after)} only anew"
    return Action(Verb.REPLACE, Kind.PORT, after.name, relay, before, after, Impact.RELAY, reason)


def _set_when_attached(before: Port, after: Port) -> str:
    if before.bond_mode != after.bond_mode:
        return "a bond takes its mode"
    changed = [f.name for f in fields(Port) if getattr(before, f.name) != getattr(after, f.name)]
    names = ["arguments" if name == "args" else name for name in changed if name != "members"]
    return f"a device takes {' and '.join(names)}"


def _impact(before: Port, after: Port) -> Impact:
    """Who leaves may be the one that carries the traffic, which then stops for a moment."""
    return Impact.RELAY if set(before.members) - set(after.members) else Impact.NONE


def _joined_and_left(before: Port, after: Port) -> str:
    joined = [member.partition(",")[0] for member in after.members if member not in before.members]
    left = [member.partition(",")[0] for member in before.members if member not in after.members]
    parts = [f"{' and '.join(names)} {verb}" for names, verb in ((joined, "to join"), (left, "to leave")) if names]
    return f"the spec wants {', '.join(parts)}" if parts else "the spec prefers its members in another order"
