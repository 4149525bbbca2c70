"""Pages and mounts before there is any engine: it takes its memory when it starts, and without pages does without."""

from __future__ import annotations

from reconciler.host.refusal import Objected
from reconciler.memory.memory import HostMounts
from reconciler.observe.snapshot import Sighting
from reconciler.resources.host_memory import readied
from schema.model import State


def ready(mounts: HostMounts, target: State, sighting: Sighting) -> str:
    """Reserves and mounts what is wanted, unless an engine runs: then that is a matter of its plan. Gives a sentence on
    what was not to be had, which is no reason not to go on: the plan says it again."""
    if sighting.seen or sighting.silent:
        return ""
    wrong = []
    for action in readied(target, State(pages=mounts.pages(), mounts=mounts.mounts())):
        try:
            mounts.carry_out(action)
        except Objected as objected:
            wrong.append(f"{action.resource}: {objected}")
    return "; ".join(wrong)
