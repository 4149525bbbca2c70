"""A relay: the pairing of a port with a socket."""

from __future__ import annotations

from schema.model import Action, Impact, Kind, Relay, Verb

BROKEN = "relays exchange VFs or sockets in a circle, and one has to let go first"


def add(after: Relay, reason: str = "the spec asks for it") -> Action:
    return Action(Verb.ADD, Kind.RELAY, after.id, after.id, None, after, Impact.NONE, reason)


def remove(before: Relay, reason: str = "the spec no longer has it") -> Action:
    return Action(Verb.REMOVE, Kind.RELAY, before.id, before.id, before, None, Impact.RELAY, reason)


def change(before: Relay, after: Relay) -> Action:
    parts = [
        word
        for word, differs in (("VF", before.port != after.port), ("socket", before.socket != after.socket))
        if differs
    ]
    reason = f"the spec gives it another {' and another '.join(parts)}"
    return Action(Verb.UPDATE, Kind.RELAY, after.id, after.id, before, after, Impact.RELAY, reason)
