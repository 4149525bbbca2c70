"""Carries out a plan with the waiting that it takes: for an engine that starts, starts anew, or has to be started."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from engine.api.client import EngineError, EngineUnavailable
from reconciler.apply.executor import OnStep, Outcome, Step, Verdict, apply_host
from reconciler.apply.proposal import Proposal
from reconciler.observe.engine_start import forget_unneeded, leave_parameters
from reconciler.observe.engines import Engines, HostSnapshot
from reconciler.planning.host_plan import HostPlan
from schema.model import State
from schema.system.locks import wait_until

STALE_TRIES = 5
"""Whoever changes the engine that often is at war with us; going on would only feed it."""

Notice = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Converger:
    """How to carry plans out: on which engines, how long to wait for them, and whom to tell."""

    engines: Engines
    wait_s: float
    notice: Notice
    on_step: OnStep | None = None

    def observe(self, patient: bool = False) -> HostSnapshot:
        """What the engines show, waiting while all that are there are still starting (`patient`: also for one that is
        not there). Raises what `Engines.observe_any` raises."""
        deadline = time.monotonic() + self.wait_s
        noticed = False
        while True:
            try:
                return self.engines.observe_any()
            except (EngineError, EngineUnavailable) as error:
                starting = isinstance(error, EngineError) and error.code == "not-ready"
                if not (starting or patient) or time.monotonic() >= deadline:
                    raise
                if not noticed:
                    self.notice("The engine is starting; waiting until it is ready." if starting else str(error))
                    noticed = True
            time.sleep(0.1)

    def say(self, sentence: str) -> None:
        """Tells, if there is something to tell."""
        if sentence:
            self.notice(sentence)

    def leave_parameters(self, targets: Mapping[int, State]) -> None:
        self.say(leave_parameters(self.engines.state_dir, self.engines.run_dir, targets))

    def converge(self, found: Proposal, replan: bool) -> Outcome:
        """Carries it out, and with `replan` what its target takes beyond that once it can be done. Raises
        EngineUnavailable, EngineError, SpecUnfit."""
        snapshot, todo = found.snapshot, found.todo
        steps: list[Step] = []
        waited = not replan
        for attempt in range(STALE_TRIES):
            self.leave_parameters(todo.targets)
            outcome = apply_host(todo, snapshot.observations, self.engines.clients, self.on_step)
            steps += outcome.steps
            if attempt == STALE_TRIES - 1 or not self._again(outcome, todo, snapshot, replan, waited):
                break
            waited = waited or bool(todo.missing)
            snapshot = self.observe()
            todo = found.again(snapshot)
        if outcome.verdict is Verdict.APPLIED:
            self.say(forget_unneeded(self.engines.state_dir, self.engines.run_dir, todo.targets))
        return replace(outcome, steps=tuple(steps))

    def _again(self, outcome: Outcome, todo: HostPlan, snapshot: HostSnapshot, replan: bool, waited: bool) -> bool:
        """Whether there is more to do, once it can be done."""
        if outcome.verdict is Verdict.RESTARTING:
            live = snapshot.observations
            self._wait_for_others({s: live[s].boot_id for s in sorted(todo.replaced) if s in live})
            return True
        if outcome.verdict is Verdict.STALE:
            return replan
        return not waited and bool(todo.missing) and self.wait_for(todo.missing)

    def wait_for(self, missing: Mapping[int, str]) -> bool:
        """Waits until all these engines are ready; whether they came."""
        self.notice(f"Waiting up to {self.wait_s:g} s: {'; '.join(missing.values())}.")
        return wait_until(lambda: missing.keys() <= self.engines.observe().observations.keys(), self.wait_s, 0.2)

    def _wait_for_others(self, boot_ids: Mapping[int, str]) -> None:
        """Waits until engines other than these answer. Raises EngineUnavailable when one does not come."""
        self.notice("The engine starts anew; waiting for it.")
        if wait_until(lambda: all(self._is_another(*each) for each in boot_ids.items()), self.wait_s):
            return
        raise EngineUnavailable(
            f"the engine ended to be started anew, but none came back within {self.wait_s:g} s; "
            "start it with: vio4wd engine"
        )

    def _is_another(self, shard: int, boot_id: str) -> bool:
        try:
            return self.engines.client(shard).hello().boot_id != boot_id
        except EngineUnavailable:
            return False  # between two engines there is none
