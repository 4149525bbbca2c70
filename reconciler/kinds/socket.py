"""A vhost-user socket."""

from __future__ import annotations

from schema.model import Action, Impact, Kind, Socket, Verb


def add(after: Socket, relay: int | None) -> Action:
    return Action(Verb.ADD, Kind.SOCKET, after.path, relay, None, after, Impact.NONE, f"relay {relay} needs it")


def remove(before: Socket, relay: int | None) -> Action:
    reason = "no relay of the spec uses it"
    return Action(Verb.REMOVE, Kind.SOCKET, before.path, relay, before, None, Impact.GUEST, reason)


def change(before: Socket, after: Socket, relay: int | None) -> Action:
    """Owner, group and permissions change on the file; who connects to whom is settled when it is registered."""
    if before.mode != after.mode:
        reason = "its mode is settled when it is registered"
        return Action(Verb.REPLACE, Kind.SOCKET, after.path, relay, before, after, Impact.GUEST, reason)
    reason = "who may connect changes"
    return Action(Verb.UPDATE, Kind.SOCKET, after.path, relay, before, after, Impact.NONE, reason)
