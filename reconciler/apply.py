"""Carries out a plan, then observes again and compares: what counts is what is live, not what was answered."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from engine.client import EngineError, EngineUnavailable, Observation
from reconciler.depends import Token, needs, spoils
from reconciler.plan import Plan, plan
from schema.model import Action, Kind, Pin, State, Verb


class Ending(enum.StrEnum):
    """How one action ended."""

    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    """What it depends on failed."""


class Verdict(enum.StrEnum):
    """How applying a plan ended."""

    APPLIED = "applied"
    """Observed again, and it matches."""
    FAILED = "failed"
    """Some of it did not work; the rest is in place."""
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
    ending: Ending
    message: str = ""
    took_us: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
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


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a plan."""

    verdict: Verdict
    steps: tuple[Step, ...]
    relays: tuple[RelayOutcome, ...]
    message: str
    boot_id: str
    generation: int

    def to_json(self) -> dict[str, Any]:
        return {
            "verdict": self.verdict.value,
            "message": self.message,
            "boot_id": self.boot_id,
            "generation": self.generation,
            "steps": [step.to_json() for step in self.steps],
            "relays": [{"relay": r.relay, "applied": r.applied, "message": r.message} for r in self.relays],
        }


class Applier(Protocol):
    """What applying needs of an engine; `engine.client.EngineClient` is one."""

    def observe(self) -> Observation: ...

    def execute(self, action: Action, boot_id: str, generation: int, pin: Pin | None = None) -> tuple[int, int]: ...


class _Stopped(Exception):  # noqa: N818 - a turn of events
    def __init__(self, verdict: Verdict, message: str) -> None:
        super().__init__(message)
        self.verdict = verdict
        self.message = message


OnStep = Callable[[Step], None]


def apply(todo: Plan, target: State, seen: Observation, engine: Applier, on_step: OnStep | None = None) -> Outcome:
    """Carries out `todo`, which was planned for `seen`, and verifies that the engine then matches `target`.

    Never raises for what the engine does: refusals, a change by others and its end are verdicts. `on_step` hears of
    each step as it ends.
    """
    run = _Run(todo, seen, engine, on_step)
    try:
        run.all_actions()
        verdict, message, observed = _verify(target, engine, run.steps)
    except _Stopped as stop:
        return run.outcome(stop.verdict, stop.message, _relays(target, run.steps, (), stop.message))
    run.boot_id, run.generation = observed.boot_id, observed.generation
    return run.outcome(verdict, message, _relays(target, run.steps, plan(target, observed.state).actions, ""))


class _Run:
    """The actions of one plan, in progress."""

    def __init__(self, todo: Plan, seen: Observation, engine: Applier, on_step: OnStep | None) -> None:
        self.todo = todo
        self.seen = seen
        self.engine = engine
        self.on_step = on_step
        self.steps: list[Step] = []
        self.spoiled: dict[Token, Action] = {}
        self.boot_id, self.generation = seen.boot_id, seen.generation

    def all_actions(self) -> None:
        for action in self.todo.actions:
            step = self._one(action)
            self.steps.append(step)
            if step.ending is not Ending.DONE:
                self.spoiled |= dict.fromkeys(spoils(action, self.seen.state), action)
            if self.on_step is not None:
                self.on_step(step)
            if step.ending is Ending.DONE and action.kind is Kind.ENGINE and action.verb is Verb.REPLACE:
                raise _Stopped(Verdict.RESTARTING, "the engine starts anew")

    def _one(self, action: Action) -> Step:
        pin = self.todo.pin_of(action)
        culprits = [self.spoiled[token] for token in sorted(needs(action, pin), key=str) if token in self.spoiled]
        if culprits:
            culprit = culprits[0]
            return Step(action, Ending.SKIPPED, f"{culprit.verb} {culprit.resource} came first and did not work")
        try:
            self.generation, took_us = self.engine.execute(action, self.boot_id, self.generation, pin)
        except EngineError as error:
            if error.code == "stale":
                raise _Stopped(Verdict.STALE, "the engine was changed by somebody else meanwhile") from error
            return Step(action, Ending.FAILED, error.message)
        except EngineUnavailable as error:
            if action.kind is Kind.ENGINE and action.verb is Verb.REPLACE:
                return Step(action, Ending.DONE)
            raise _Stopped(Verdict.LOST, str(error)) from error
        return Step(action, Ending.DONE, took_us=took_us)

    def outcome(self, verdict: Verdict, message: str, relays: tuple[RelayOutcome, ...]) -> Outcome:
        return Outcome(verdict, tuple(self.steps), relays, message, self.boot_id, self.generation)


def _verify(target: State, engine: Applier, steps: Iterable[Step]) -> tuple[Verdict, str, Observation]:
    try:
        observed = engine.observe()
    except EngineUnavailable as error:
        raise _Stopped(Verdict.LOST, str(error)) from error
    except EngineError as error:
        raise _Stopped(Verdict.LOST, error.message) from error
    failed = sum(step.ending is not Ending.DONE for step in steps)
    if failed:
        return Verdict.FAILED, f"{failed} of {len(list(steps))} actions did not work", observed
    missing = plan(target, observed.state).actions
    if missing:
        names = ", ".join(f"{action.verb} {action.resource}" for action in missing[:3])
        return Verdict.FAILED, f"every action was answered with done, but the engine still lacks: {names}", observed
    return Verdict.APPLIED, "", observed


def _relays(
    target: State, steps: Iterable[Step], missing: Iterable[Action], stopped: str
) -> tuple[RelayOutcome, ...]:
    """A relay is applied when nothing that serves it failed and nothing of it is missing."""
    faults = {a.relay: f"{a.verb} {a.resource} is still to be done" for a in missing if a.relay is not None}
    for step in reversed(list(steps)):
        if step.ending is not Ending.DONE and step.action.relay is not None:
            faults[step.action.relay] = f"{step.action.verb} {step.action.resource}: {step.message}"
    return _outcomes(target.relays.keys() | faults.keys(), faults, stopped)


def _outcomes(relays: Iterable[int], faults: Mapping[int, str], stopped: str) -> tuple[RelayOutcome, ...]:
    return tuple(
        RelayOutcome(relay, applied=not (stopped or relay in faults), message=faults.get(relay, stopped))
        for relay in sorted(relays)
    )
