"""How the steps of a plan ended, and what that makes of it as a whole."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from reconciler.host.refusal import is_retryable
from reconciler.observe.engines import EngineVersion
from reconciler.policy.removal_guards import HeldBack
from schema.model import Action, State
from state.applied import ResourceRef

NO_DEVICE = "no-device"
"""The refusal of what may still come: the relay waits for it."""


class StepResult(enum.StrEnum):
    """How one action ended."""

    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    """What it depends on failed."""
    HELD_BACK = "held"
    """It, or what it depends on, is not to be carried out now."""


class Verdict(enum.StrEnum):
    """How applying a plan ended."""

    APPLIED = "applied"
    """Observed again, and it matches."""
    FAILED = "failed"
    """Some of it did not work; the rest is in place."""
    HELD_BACK = "held"
    """Some of it is not to be carried out now; the rest is in place."""
    STALE = "stale"
    """Somebody else changed the engine meanwhile: make a new plan."""
    LOST = "lost"
    """The engine went away: what was carried out has to be observed."""
    RESTARTING = "restarting"
    """The engine ends as planned; go on with a new plan when the next one is up."""


@dataclass(frozen=True, slots=True)
class Step:
    """One action and how it ended."""

    action: Action
    ending: StepResult
    message: str = ""
    took_us: int = 0
    shard: int = 0
    code: str = ""
    """Of a refusal, as docs/engine-api.md has them."""

    def to_json(self) -> dict[str, Any]:
        return {
            "shard": self.shard,
            **self.action.to_json(),
            "ending": self.ending.value,
            "message": self.message,
            "took_us": self.took_us,
        }


@dataclass(frozen=True, slots=True)
class RelayOutcome:
    """Whether a relay is as it should be; if not, why."""

    relay: int
    applied: bool
    message: str = ""
    pending: bool = False
    """Nothing of it failed, but what it needs is not there yet."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a plan."""

    verdict: Verdict
    steps: tuple[Step, ...]
    relays: tuple[RelayOutcome, ...]
    message: str
    versions: tuple[EngineVersion, ...] = ()
    """Of the engines that were there, as they were left."""
    left: Mapping[int, frozenset[ResourceRef]] = field(default_factory=dict)
    """What still differed when it was observed at the end, by shard; of those that could be observed."""
    held_back: tuple[HeldBack, ...] = ()
    """What was left as it is because a guard held it back."""
    confirmed: bool | None = None
    """Whether it was confirmed in time; None where that was not asked for."""
    rollback: Outcome | None = None
    """How it was undone; None when it was not."""
    why_undone: str = ""

    @property
    def is_retryable(self) -> bool:
        """Whether the same again can end better."""
        codes = [step.code for step in self.steps if step.ending is StepResult.FAILED]
        return not codes or any(map(is_retryable, codes))

    def to_json(self) -> dict[str, Any]:
        return {
            "verdict": self.verdict.value,
            "message": self.message,
            "engine": [asdict(version) for version in self.versions],
            "steps": [step.to_json() for step in self.steps],
            "relays": [asdict(relay) for relay in self.relays],
            "held": [each.to_json() for each in self.held_back],
            "confirmed": self.confirmed,
            "rollback": self.rollback.to_json() if self.rollback is not None else None,
            "why_undone": self.why_undone,
        }


ORDER = (Verdict.STALE, Verdict.RESTARTING, Verdict.FAILED)
"""What one engine's end makes of the whole, whatever became of the others."""


def together(verdicts: Iterable[Verdict], missing: bool) -> Verdict:
    """One verdict of those of several engines; `missing`: one that is needed was not there. The host is lost only
    when every engine is: otherwise what is lost failed, and the rest is in place."""
    all_ = set(verdicts)
    for verdict in ORDER:
        if verdict in all_:
            return verdict
    if all_ == {Verdict.LOST}:
        return Verdict.LOST
    if missing or Verdict.LOST in all_:
        return Verdict.FAILED
    return Verdict.HELD_BACK if Verdict.HELD_BACK in all_ else Verdict.APPLIED


def relay_outcomes(
    target: State, steps: Iterable[Step], missing: Iterable[Action], stopped: str
) -> dict[int, RelayOutcome]:
    """The relays of one engine: one is applied when nothing that serves it failed and nothing of it is missing."""
    faults = {a.relay: f"{a.verb} {a.resource} is still to be done" for a in missing if a.relay is not None}
    first: dict[int, Step] = {}
    # Of several, the first one counts, but what failed more than what is not there yet.
    for step in sorted(steps, key=lambda s: s.ending is not StepResult.FAILED or s.code == NO_DEVICE):
        if step.ending is not StepResult.DONE and step.action.relay is not None:
            first.setdefault(step.action.relay, step)
    faults |= {id_: f"{step.action.verb} {step.action.resource}: {step.message}" for id_, step in first.items()}
    waits = {id_ for id_, step in first.items() if step.code == NO_DEVICE}
    relays = target.relays.keys() | faults.keys()
    return {
        id_: RelayOutcome(id_, not (stopped or id_ in faults), faults.get(id_, stopped), id_ in waits) for id_ in relays
    }


def waiting(target: State, why: str) -> dict[int, RelayOutcome]:
    """The relays of an engine that is not there."""
    return {id_: RelayOutcome(id_, applied=False, message=why, pending=True) for id_ in target.relays}


def merged(parts: Iterable[Mapping[int, RelayOutcome]]) -> tuple[RelayOutcome, ...]:
    """All relays, sorted; one that is on two engines is applied when it is on both."""
    found: dict[int, RelayOutcome] = {}
    for part in parts:
        for id_, outcome in part.items():
            if id_ not in found or found[id_].applied:
                found[id_] = outcome
    return tuple(found[id_] for id_ in sorted(found))
