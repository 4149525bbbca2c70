"""A port: a VF's PCI function, or a virtual device."""

from __future__ import annotations

from schema.model import Action, Impact, Kind, Port, Verb


def add(after: Port, relay: int | None) -> Action:
    return Action(Verb.ADD, Kind.PORT, after.name, relay, None, after, Impact.NONE, f"relay {relay} needs it")


def remove(before: Port, relay: int | None) -> Action:
    """Comes after its relay has gone or moved on, so it costs nobody anything any more."""
    reason = "no relay of the spec uses it"
    return Action(Verb.REMOVE, Kind.PORT, before.name, relay, before, None, Impact.NONE, reason)


def change(before: Port, after: Port, relay: int | None) -> Action:
    """A device takes its arguments only when it is attached; its relay drains meanwhile."""
    return Action(
        Verb.REPLACE, Kind.PORT, after.name, relay, before, after, Impact.RELAY, "a device takes arguments only anew"
    )
