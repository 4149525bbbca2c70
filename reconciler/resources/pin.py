"""Where a relay is polled. Its first pin rides with `add relay`; only later ones are actions of their own."""

from __future__ import annotations

from collections.abc import Set

from schema.model import Action, Impact, Kind, Pin, Verb


def change(before: Pin | None, after: Pin, wanted: bool, cpus: Set[int]) -> Action:
    """`wanted`: the spec gives this pin; else the planner had to move it, because `cpus` has not all of it any more."""
    reason = "the spec pins it there" if wanted else _left(before, cpus)
    return Action(Verb.MIGRATE, Kind.PIN, after.relay, after.relay, before, after, Impact.NONE, reason)


def _left(before: Pin | None, cpus: Set[int]) -> str:
    gone = sorted({before.vf_to_vm, before.vm_to_vf} - cpus) if before is not None else []
    if not gone:
        return "it has no place yet"
    return f"CPU {gone[0]} is no worker any more" if len(gone) == 1 else f"CPUs {gone[0]} and {gone[1]} are no workers"
