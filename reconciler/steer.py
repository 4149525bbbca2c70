"""From a desired state to a live one, with the waiting that a person at a terminal expects."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from engine.client import EngineError, EngineUnavailable
from reconciler.apply import OnStep, Outcome, Step, Verdict, apply_host
from reconciler.errands import Errand, plans_of
from reconciler.fleet import Fleet, forget_unneeded, leave_parameters
from reconciler.guards import Guarded, Policy, carried_over, guard
from reconciler.host import Host
from reconciler.hostplan import HostPlan, join, missing_words, plan_host
from reconciler.lock import APPLY, locked
from reconciler.mounts.early import ready
from reconciler.narrow import narrowed, scope
from reconciler.plan import Plan
from reconciler.predict import predict
from reconciler.room import refuse_shortage
from reconciler.savedplan import SavedPlan
from reconciler.sighting import Sighting
from reconciler.stale import Stale, refuse_held, refuse_stale
from schema.model import Kind, State, Verb, Worker
from state.lasttarget import LastTarget, keep_target, last_target
from state.store import Store

LOCK_WAIT_S = 10.0
STALE_TRIES = 5
"""Whoever changes the engine that often is at war with us; going on would only feed it."""

Notice = Callable[[str], None]


def see_when_ready(fleet: Fleet, wait_s: float, notice: Notice) -> Sighting:
    """What the engines show, waiting up to `wait_s` while all that are there are still starting. Raises what
    `Fleet.see_any` raises."""
    deadline = time.monotonic() + wait_s
    said = False
    while True:
        try:
            return fleet.see_any()
        except EngineError as error:
            if error.code != "not-ready" or time.monotonic() >= deadline:
                raise
            if not said:
                notice("The engine is starting; waiting until it is ready.")
                said = True
        time.sleep(0.1)


@dataclass(frozen=True, slots=True)
class Steering:
    """How to apply: which engines, how long to wait for them, and whom to tell."""

    fleet: Fleet
    store: Store
    host: Host
    wait_s: float
    notice: Notice
    on_step: OnStep | None = None

    def apply_state(self, target: State, policy: Policy, only: frozenset[int] = frozenset()) -> Outcome:
        """Makes the engines match `target` (`only`: in these relays, and what they need), planning anew when one was
        changed meanwhile, had to be started again or came later.

        The outcome has every action that was carried out. Raises EngineUnavailable, EngineError, SpecUnfit, Locked,
        OSError.
        """
        with locked(self.fleet.run_dir / APPLY, LOCK_WAIT_S):
            before = self.fleet.see()
            todo = plan_host(target, before)
            self._say(ready(self.fleet.mounts, target, before))
            self._leave_parameters(todo)  # who starts waits for them
            sighting = self._see()
            last = last_target(self.store)
            if only:
                target, last = narrowed(target, sighting, only, last), scope(last, only)
            guarded = guard(target, sighting, policy, last)
            todo = plan_host(guarded.target, sighting)
            refuse_shortage(todo, sighting, self.host)
            outcome = self._until_settled(guarded.target, sighting, todo, replan=True)
            keep_target(self.store, reached(guarded, carried_over(guarded, policy, last), outcome))
        return replace(outcome, held=guarded.held)

    def apply_saved(self, saved: SavedPlan, allowed: frozenset[int] = frozenset()) -> Outcome:
        """Carries out a saved plan, on the state that it was made for and on no other, and as a whole: a guard that
        has something against it now (`allowed`: relays that it may not hold back) refuses it. Raises Stale, and as
        `apply_state`."""
        policy = replace(saved.policy, allowed=saved.policy.allowed | allowed)
        with locked(self.fleet.run_dir / APPLY, LOCK_WAIT_S):
            sighting = self._see()
            refuse_stale(saved, sighting, time.time())
            todo = revived(saved, sighting)
            if todo.missing:
                self._leave_parameters(todo)
                self._wait_for(todo.missing)
                sighting = self._see()
                refuse_stale(saved, sighting, time.time())
                todo = revived(saved, sighting)
            last = last_target(self.store)
            guarded = guard(join(todo.targets.values()), sighting, policy, last)
            refuse_held(guarded)
            outcome = self._until_settled(guarded.target, sighting, todo, replan=False)
            keep_target(self.store, reached(guarded, carried_over(guarded, policy, last), outcome))
        if outcome.verdict is Verdict.STALE:
            raise Stale(f"{outcome.message}, after {len(outcome.steps)} actions of this plan; make a new one")
        return outcome

    def _leave_parameters(self, todo: HostPlan) -> None:
        self._say(leave_parameters(self.fleet.state_dir, todo))

    def _say(self, sentence: str) -> None:
        if sentence:
            self.notice(sentence)

    def _see(self) -> Sighting:
        return see_when_ready(self.fleet, self.wait_s, self.notice)

    def _until_settled(self, target: State, sighting: Sighting, todo: HostPlan, replan: bool) -> Outcome:
        steps: list[Step] = []
        waited = not replan
        for attempt in range(STALE_TRIES):
            self._leave_parameters(todo)
            outcome = apply_host(todo, sighting.seen, self.fleet.clients, self.on_step)
            steps += outcome.steps
            if attempt == STALE_TRIES - 1 or not self._again(outcome, todo, sighting, replan, waited):
                break
            waited = waited or bool(todo.missing)
            sighting = self._see()
            todo = plan_host(target, sighting)
        if outcome.verdict is Verdict.APPLIED:
            self._say(forget_unneeded(self.fleet.state_dir, todo))
        return replace(outcome, steps=tuple(steps))

    def _again(self, outcome: Outcome, todo: HostPlan, sighting: Sighting, replan: bool, waited: bool) -> bool:
        """Whether there is more to do, once it can be done."""
        if outcome.verdict is Verdict.RESTARTING:
            self._wait_for_others({s: sighting.seen[s].boot_id for s in restarting(todo.errands) if s in sighting.seen})
            return True
        if outcome.verdict is Verdict.STALE:
            return replan
        return not waited and bool(todo.missing) and self._wait_for(todo.missing)

    def _wait_for(self, missing: Mapping[int, str]) -> bool:
        """Waits until all these engines are ready; whether they came."""
        self.notice(f"Waiting up to {self.wait_s:g} s: {'; '.join(missing.values())}.")
        deadline = time.monotonic() + self.wait_s
        while time.monotonic() < deadline:
            if missing.keys() <= self.fleet.see().seen.keys():
                return True
            time.sleep(0.2)
        return False

    def _wait_for_others(self, boot_ids: Mapping[int, str]) -> None:
        """Waits until engines other than these answer. Raises EngineUnavailable when one does not come."""
        self.notice("The engine starts anew; waiting for it.")
        left = dict(boot_ids)
        deadline = time.monotonic() + self.wait_s
        while time.monotonic() < deadline:
            for shard, boot_id in list(left.items()):
                if self._is_another(shard, boot_id):
                    del left[shard]
            if not left:
                return
            time.sleep(0.1)
        raise EngineUnavailable(
            f"the engine ended to be started anew, but none came back within {self.wait_s:g} s; "
            "start it with: vio4wd engine"
        )

    def _is_another(self, shard: int, boot_id: str) -> bool:
        try:
            return self.fleet.client(shard).hello().boot_id != boot_id
        except EngineUnavailable:
            return False  # between two engines there is none


def reached(guarded: Guarded, protected: frozenset[int], outcome: Outcome) -> LastTarget:
    """What is to be remembered of what was wanted, and of how far it came."""
    boots = {moment.shard: moment.boot_id for moment in outcome.moments if moment.boot_id is not None}
    differs = frozenset(spot for spots in outcome.left.values() for spot in spots)
    return LastTarget(guarded.target, protected, boots, differs)


def restarting(errands: Iterable[Errand]) -> list[int]:
    """The shards whose engine the plan ends, to be started anew."""
    return [e.shard for e in errands if e.action.kind is Kind.ENGINE and e.action.verb is Verb.REPLACE]


def revived(saved: SavedPlan, sighting: Sighting) -> HostPlan:
    """A saved plan as one that can be carried out on what is seen."""
    plans = plans_of(saved.errands)
    shards = [moment.shard for moment in saved.moments]
    here = [shard for shard in shards if shard in sighting.seen]
    targets = {s: predict(sighting.states[s], plans.get(s, Plan())) for s in here}
    for shard in (s for s in shards if s not in targets):
        todo = plans.get(shard, Plan())
        cpus = {cpu for pin in todo.pins.values() for cpu in (pin.vf_to_vm, pin.vm_to_vf)}
        born = State(engine=targets[here[0]].engine, workers=frozenset(Worker(cpu) for cpu in cpus))
        targets[shard] = predict(born, todo)
    missing = {s: missing_words(s) for s in shards if s not in here}
    return HostPlan(saved.errands, dict(sorted(targets.items())), missing)
