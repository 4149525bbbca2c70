"""From a desired state to a live one, with the waiting that a person at a terminal expects."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from engine.client import EngineClient, EngineError, EngineUnavailable, Observation
from reconciler.apply import OnStep, Outcome, Step, Verdict, apply
from reconciler.files import write_engine_parameters
from reconciler.lock import APPLY, locked
from reconciler.plan import Plan, plan
from reconciler.predict import predict
from reconciler.savedplan import SavedPlan
from schema.model import State

LOCK_WAIT_S = 10.0
STALE_TRIES = 5
"""Whoever changes the engine that often is at war with us; going on would only feed it."""

Notice = Callable[[str], None]


class Stale(Exception):  # noqa: N818 - a turn of events
    """A saved plan was made for another state of the engine."""


def observe_when_ready(client: EngineClient, wait_s: float, notice: Notice) -> Observation:
    """Observes, waiting up to `wait_s` for an engine that is still starting. Raises what the client raises."""
    deadline = time.monotonic() + wait_s
    said = False
    while True:
        try:
            return client.observe()
        except EngineError as error:
            if error.code != "not-ready" or time.monotonic() >= deadline:
                raise
            if not said:
                notice("The engine is starting; waiting until it is ready.")
                said = True
        time.sleep(0.1)


@dataclass(frozen=True, slots=True)
class Steering:
    """How to apply: which engine, how long to wait for it, and whom to tell."""

    client: EngineClient
    state_dir: Path
    wait_s: float
    notice: Notice
    on_step: OnStep | None = None

    def apply_state(self, target: State) -> tuple[Plan, Outcome]:
        """Makes the engine match `target`, planning anew when it was changed meanwhile or had to be started again.

        Gives every action that was carried out and how all ended. Raises EngineUnavailable, EngineError, Locked,
        OSError.
        """
        with locked(self.client.run_dir / APPLY, LOCK_WAIT_S):
            write_engine_parameters(self.state_dir, target)
            seen = self._observe()
            return self._until_settled(target, seen, plan(target, seen.state), replan=True)

    def apply_saved(self, saved: SavedPlan) -> tuple[Plan, Outcome]:
        """Carries out a saved plan, on the state that it was made for and on no other. Raises Stale, and as
        `apply_state`."""
        with locked(self.client.run_dir / APPLY, LOCK_WAIT_S):
            seen = self._observe()
            _refuse_stale(saved, seen)
            target = predict(seen.state, saved.plan)
            write_engine_parameters(self.state_dir, target)
            done, outcome = self._until_settled(target, seen, saved.plan, replan=False)
        if outcome.verdict is Verdict.STALE:
            raise Stale(f"{outcome.message}, after {len(outcome.steps)} actions of this plan; make a new one")
        return done, outcome

    def _observe(self) -> Observation:
        return observe_when_ready(self.client, self.wait_s, self.notice)

    def _until_settled(self, target: State, seen: Observation, todo: Plan, replan: bool) -> tuple[Plan, Outcome]:
        steps: list[Step] = []
        pins = dict(todo.pins)
        for attempt in range(STALE_TRIES):
            outcome = apply(todo, target, seen, self.client, self.on_step)
            steps += outcome.steps
            again = outcome.verdict is Verdict.RESTARTING or (outcome.verdict is Verdict.STALE and replan)
            if not again or attempt == STALE_TRIES - 1:
                break
            if outcome.verdict is Verdict.RESTARTING:
                self._wait_for_another(seen.boot_id)
            seen = self._observe()
            todo = plan(target, seen.state)
            pins |= todo.pins
        done = Plan(tuple(step.action for step in steps), pins)
        return done, replace(outcome, steps=tuple(steps))

    def _wait_for_another(self, boot_id: str) -> None:
        """Waits until an engine other than `boot_id` answers. Raises EngineUnavailable when none comes."""
        self.notice("The engine starts anew; waiting for it.")
        deadline = time.monotonic() + self.wait_s
        while time.monotonic() < deadline:
            try:
                if self.client.hello().boot_id != boot_id:
                    return
            except EngineUnavailable:
                pass  # between two engines there is none
            time.sleep(0.1)
        raise EngineUnavailable(
            f"the engine ended to be started anew, but none came back within {self.wait_s:g} s; "
            "start it with: vio4wd engine"
        )


def _refuse_stale(saved: SavedPlan, seen: Observation) -> None:
    moment = saved.moment
    if moment.boot_id != seen.boot_id:
        raise Stale("this plan was made for an engine that has been started again since; make a new one")
    if moment.generation != seen.generation:
        raise Stale(
            f"this plan was made for generation {moment.generation} of the engine, which is at {seen.generation} now; "
            "make a new one"
        )
