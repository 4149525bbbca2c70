"""A relay: the pairing of a port with a socket."""

from __future__ import annotations

from dataclasses import replace

from schema.model import Action, Impact, Kind, Relay, Verb

BROKEN = "relays exchange VFs or sockets in a circle, and one has to let go first"
WHY = ", because there are not enough ports where it is; the guest sees its link go until it is there"


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


def leave(removal: Action, shard: int) -> Action:
    """The removal of a relay that goes on in another engine process: its guest is connected to the old one."""
    return replace(removal, impact=Impact.GUEST, reason=f"it has to move to shard {shard}{WHY}")


def arrive(addition: Action, shard: int) -> Action:
    return replace(addition, impact=Impact.GUEST, reason=f"it has to move here, from shard {shard}{WHY}")
