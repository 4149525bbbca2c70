"""A vhost-user socket."""

from __future__ import annotations

from schema.model import Action, Impact, Kind, Socket, Verb


def add(after: Socket, relay: int | None) -> Action:
    reason = "vhost_user.template_sockets asks for it" if relay is None else f"relay {relay} needs it"
    return Action(Verb.ADD, Kind.SOCKET, after.path, relay, None, after, Impact.NONE, reason)


def remove(before: Socket, relay: int | None) -> Action:
    reason = "no relay of the spec uses it"
    return Action(Verb.REMOVE, Kind.SOCKET, before.path, relay, before, None, Impact.GUEST, reason)


def change(before: Socket, after: Socket, relay: int | None) -> Action:
    """Owner, group and permissions change on the file; the rest is settled between the two when they connect."""
    if before.mode != after.mode:
        reason = "who connects to whom changes, so QEMU must be started anew with its socket the other way round"
        return Action(Verb.REPLACE, Kind.SOCKET, after.path, relay, before, after, Impact.GUEST, reason)
    if before.features != after.features:
        reason = "guests see offered features only when they connect"
        return Action(Verb.REPLACE, Kind.SOCKET, after.path, relay, before, after, Impact.GUEST, reason)
    reason = "who may connect changes"
    return Action(Verb.UPDATE, Kind.SOCKET, after.path, relay, before, after, Impact.NONE, reason)
