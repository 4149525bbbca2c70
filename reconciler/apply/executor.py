"""Carries out a plan, then observes again and compares: what counts is what is live, not what was answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from engine.api.client import EngineError, EngineUnavailable, Observation
from reconciler.apply.outcome import (
    Outcome,
    RelayOutcome,
    Step,
    StepResult,
    Verdict,
    merged,
    relay_outcomes,
    together,
    waiting,
)
from reconciler.observe.engines import EngineVersion
from reconciler.planning.host_plan import HostPlan
from reconciler.planning.plan import Plan, plan
from reconciler.planning.planned_action import PlannedAction, ShardOf, alone, elsewhere, in_use, release
from reconciler.planning.prerequisites import Condition, needs, spoils
from schema.model import Action, Kind, Pin, State, Verb
from state.applied import ResourceRef

__all__ = ["Applier", "OnStep", "Outcome", "RelayOutcome", "Step", "StepResult", "Verdict", "apply", "apply_host"]


class Applier(Protocol):
    """What applying needs of an engine; `engine.api.client.EngineClient` is one."""

    def observe(self) -> Observation: ...

    def execute(self, action: Action, boot_id: str, generation: int, pin: Pin | None = None) -> tuple[int, int]: ...


OnStep = Callable[[Step], None]
BROKEN = frozenset({StepResult.FAILED, StepResult.SKIPPED})


def apply(todo: Plan, target: State, observed: Observation, engine: Applier, on_step: OnStep | None = None) -> Outcome:
    """As `apply_host`, with a single engine."""
    return apply_host(HostPlan(alone(todo), {0: target}), {0: observed}, {0: engine}, on_step)


def apply_host(
    todo: HostPlan,
    observations: Mapping[int, Observation],
    engines: Mapping[int, Applier],
    on_step: OnStep | None = None,
) -> Outcome:
    """Carries out `todo`, which was planned for these observations of each shard, and verifies that each engine then
    matches its target.

    Never raises for what engines do: refusals, a change by others and an end are verdicts, and the end of one engine
    does not stop the others. `on_step` hears of each step as it ends.
    """
    runs = {s: _Run(s, todo.targets[s], observations[s], engines[s]) for s in sorted(observations) if s in todo.targets}
    shard_of = in_use({shard: observation.state for shard, observation in observations.items()})
    steps: list[Step] = []
    for planned in todo.planned_actions:
        step = runs[planned.shard].carry_out(planned, shard_of) if planned.shard in runs else None
        if step is not None:
            steps.append(step)
            if on_step is not None:
                on_step(step)
    missing = {shard: why for shard, why in todo.missing.items() if shard not in runs}
    relays = [run.verified() for run in runs.values()]
    relays += [waiting(todo.targets[shard], why) for shard, why in missing.items()]
    return Outcome(
        verdict=together((run.verdict for run in runs.values()), bool(missing)),
        steps=tuple(steps),
        relays=merged(relays),
        message=_message(runs, missing),
        versions=tuple(run.version for run in runs.values()),
        left={run.shard: run.left for run in runs.values() if run.left is not None},
    )


def _message(runs: Mapping[int, _Run], missing: Mapping[int, str]) -> str:
    words = dict(missing)
    for shard, run in runs.items():
        if run.message:
            words[shard] = f"shard {shard}: {run.message}" if len(runs) + len(missing) > 1 else run.message
    return "; ".join(words[shard] for shard in sorted(words))


class _Run:
    """One engine's part of a plan, in progress."""

    def __init__(self, shard: int, target: State, observed: Observation, engine: Applier) -> None:
        self.shard = shard
        self.target = target
        self.observed = observed
        self.engine = engine
        self.steps: list[Step] = []
        self.spoiled: dict[Condition, Step] = {}
        self.verdict = Verdict.APPLIED
        self.message = ""
        self.left: frozenset[ResourceRef] | None = None
        """What still differs, once that was observed."""
        self.boot_id, self.generation = observed.boot_id, observed.generation

    @property
    def version(self) -> EngineVersion:
        return EngineVersion(self.shard, self.boot_id, self.generation)

    @property
    def stopped(self) -> bool:
        return self.verdict in (Verdict.STALE, Verdict.LOST, Verdict.RESTARTING)

    def carry_out(self, planned: PlannedAction, shard_of: ShardOf) -> Step | None:
        """The step that it made; None when this engine is past steps."""
        step = None if self.stopped else self._one(planned, shard_of)
        if step is None:
            return None
        self.steps.append(step)
        action = planned.action
        if step.ending is not StepResult.DONE:
            self.spoiled |= dict.fromkeys(spoils(action, self.observed.state.pins), step)
            return step
        release(planned, shard_of)
        if action.kind is Kind.ENGINE and action.verb is Verb.REPLACE:
            self._stop(Verdict.RESTARTING, "the engine starts anew")
        return step

    def _one(self, planned: PlannedAction, shard_of: ShardOf) -> Step | None:
        action = planned.action
        lacking = min((each for each in needs(action, planned.pin) if each in self.spoiled), key=str, default=None)
        if lacking is not None:
            return self._after(self.spoiled[lacking], action)
        if planned.held_back:
            return self._step(action, StepResult.HELD_BACK, planned.held_back)
        taken = elsewhere(planned, shard_of)
        if taken is not None:
            return self._step(action, StepResult.SKIPPED, f"shard {shard_of[taken]} has not released it")
        try:
            self.generation, took_us = self.engine.execute(action, self.boot_id, self.generation, planned.pin)
        except EngineError as error:
            if error.code == "stale":
                self._stop(Verdict.STALE, "the engine was changed by somebody else meanwhile")
                return None
            return self._step(action, StepResult.FAILED, error.message, code=error.code)
        except EngineUnavailable as error:
            if action.kind is Kind.ENGINE and action.verb is Verb.REPLACE:
                return self._step(action, StepResult.DONE)
            self._stop(Verdict.LOST, str(error))
            return None
        return self._step(action, StepResult.DONE, took_us=took_us)

    def _after(self, culprit: Step, action: Action) -> Step:
        """What becomes of an action that needs what did not happen."""
        first = f"{culprit.action.verb} {culprit.action.resource}"
        if culprit.ending is StepResult.HELD_BACK:
            return self._step(action, StepResult.HELD_BACK, f"it waits for {first}: {culprit.message}")
        return self._step(action, StepResult.SKIPPED, f"{first} came first and did not work")

    def _step(self, action: Action, ending: StepResult, message: str = "", took_us: int = 0, code: str = "") -> Step:
        return Step(action, ending, message, took_us, self.shard, code)

    def _stop(self, verdict: Verdict, message: str) -> None:
        self.verdict, self.message = verdict, message

    def verified(self) -> dict[int, RelayOutcome]:
        """Observes again, which decides the verdict; what that means for each relay."""
        observed = None if self.stopped else self._observe()
        if observed is None:
            return relay_outcomes(self.target, self.steps, (), self.message)
        missing = plan(self.target, observed.state).actions
        self.left = frozenset((self.shard, action.kind, action.key) for action in missing)
        self._conclude(missing)
        self.boot_id, self.generation = observed.boot_id, observed.generation
        return relay_outcomes(self.target, self.steps, missing, "")

    def _conclude(self, missing: Sequence[Action]) -> None:
        endings = [step.ending for step in self.steps]
        failed, held_back = (sum(each in which for each in endings) for which in (BROKEN, {StepResult.HELD_BACK}))
        places = {(s.action.kind, s.action.key) for s in self.steps if s.ending is StepResult.HELD_BACK}
        surprising = [action for action in missing if (action.kind, action.key) not in places]
        if failed:
            self._stop(Verdict.FAILED, f"{failed} of {len(self.steps)} actions did not work{self._nobodys()}")
        elif surprising:
            names = ", ".join(f"{action.verb} {action.resource}" for action in surprising[:3])
            self._stop(Verdict.FAILED, f"every action was answered with done, but the engine still lacks: {names}")
        elif held_back:
            self._stop(Verdict.HELD_BACK, f"{held_back} of {len(self.steps)} actions are held back")

    def _nobodys(self) -> str:
        """What failed and is no relay's, which would otherwise not be heard of."""
        failed = [step for step in self.steps if step.ending is StepResult.FAILED and step.action.relay is None]
        return "".join(f"; {step.action.verb} {step.action.resource}: {step.message}" for step in failed)

    def _observe(self) -> Observation | None:
        try:
            return self.engine.observe()
        except (EngineUnavailable, EngineError) as error:
            self._stop(Verdict.LOST, str(error))
            return None
