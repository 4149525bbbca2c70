"""Whether a saved plan may still be carried out; if not, why, and what has changed since it was made."""

from __future__ import annotations

import time
from collections.abc import Iterator

from reconciler.apply.saved_plan import SavedPlan
from reconciler.observe.diff import difference
from reconciler.observe.engines import HostSnapshot
from reconciler.policy.removal_guards import Guarded
from schema.model import Kind, State

SHOWN = 6


class Stale(Exception):  # noqa: N818 - a turn of events
    """A saved plan was made for another state of the engine, or for another time."""


def refuse_stale(saved: SavedPlan, snapshot: HostSnapshot, now: float) -> None:
    """Raises Stale when an engine is not in the state that the plan was made for, or the plan is too old."""
    why = _other_engines(saved, snapshot) or _too_old(saved, now)
    if why:
        raise Stale(f"{why}; {changed_since(saved, snapshot)}; make a new one with: vio4wd plan -o FILE")


def refuse_held_back(guarded: Guarded) -> None:
    """Raises Stale when a guard holds back what a saved plan wants."""
    if guarded.held_back:
        words = "\n".join(f"{each.resource} may not go: {each.reason}" for each in guarded.held_back)
        names = " ".join(f"--allow-destroy {name}" for name in sorted({each.allow for each in guarded.held_back}))
        raise Stale(f"{words}\nnothing was done; make a new plan, or carry this one out with {names}")


def changed_since(saved: SavedPlan, snapshot: HostSnapshot) -> str:
    """What is live otherwise than when the plan was made, in words."""
    found = [words for shard in saved.states for words in _changed(shard, saved.states[shard], snapshot)]
    more = f", and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return f"since then: {', '.join(found[:SHOWN])}{more}" if found else "nothing differs in what is live since then"


def _changed(shard: int, before: State, snapshot: HostSnapshot) -> Iterator[str]:
    now = snapshot.states.get(shard, State(engine=before.engine))
    for kind in reversed(Kind):  # relays and pins first: they are what people know
        found = difference(now.resources(kind), before.resources(kind))
        yield from (f"{kind}:{key} has gone" for key in found.removed)
        yield from (f"{kind}:{key} is another" for key in found.changed)
        yield from (f"{kind}:{key} has come" for key in found.added)


def _too_old(saved: SavedPlan, now: float) -> str:
    if now <= saved.expires:
        return ""
    until = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(saved.expires))
    return f"this plan was good until {until}, and is too old now"


def _other_engines(saved: SavedPlan, snapshot: HostSnapshot) -> str:
    for version in saved.versions:
        found = snapshot.observations.get(version.shard)
        born_since = found is not None and version.boot_id is None and found.generation > 0
        other = found is not None and version.boot_id is not None and found.boot_id != version.boot_id
        gone = found is None and version.boot_id is not None
        if born_since or other or gone:
            return "this plan was made for an engine that has been started again since"
        if found is not None and version.generation != found.generation:
            was, is_ = version.generation, found.generation
            return f"this plan was made for generation {was} of the engine, which is at {is_} now"
    return ""
