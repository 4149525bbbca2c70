"""A CPU on which relays are polled."""

from __future__ import annotations

from schema.model import Action, Impact, Kind, Verb, Worker


def add(after: Worker) -> Action:
    reason = "engine.worker_cpus names this CPU"
    return Action(Verb.ADD, Kind.WORKER, after.cpu, None, None, after, Impact.NONE, reason)


def remove(before: Worker) -> Action:
    """Comes after everything that was polled there has moved, so nobody notices."""
    reason = "engine.worker_cpus no longer names this CPU"
    return Action(Verb.REMOVE, Kind.WORKER, before.cpu, None, before, None, Impact.NONE, reason)
