"""From a desired state to a live one as a person at a terminal expects it: guarded, waited for, written down, and
undone as a whole where that was asked for."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from engine.api.client import EngineError, EngineUnavailable
from reconciler.apply.commit_confirmed import (
    UNDOING,
    ApplyRequest,
    Unconfirmed,
    refuse_unconfirmed,
    refuse_unfinished,
    undone,
    waited,
    waiting_words,
)
from reconciler.apply.converge import Converger
from reconciler.apply.engine_start import ready
from reconciler.apply.history import write_down
from reconciler.apply.outcome import Outcome, Verdict
from reconciler.apply.proposal import Intent, Proposal, proposed
from reconciler.apply.saved_plan import SavedPlan
from reconciler.apply.staleness import Stale, refuse_held_back, refuse_stale
from reconciler.host.host import Host
from reconciler.observe.snapshot import HostSnapshot
from reconciler.planning.capacity import refuse_shortage
from reconciler.planning.host_plan import HostPlan, as_wish, join, missing_words, plan_host
from reconciler.planning.plan import Plan
from reconciler.planning.planned_action import plans_of
from reconciler.planning.predict import predict
from reconciler.policy.relay_subsets import files_own, others_of, owners_of, protected_among
from reconciler.policy.removal_guards import Guarded, Policy, carried_over, guard
from reconciler.runtime.lock import APPLY, Locked, locked
from reconciler.runtime.wording import number_of
from schema.model import State, Worker
from state.last_applied import LastTarget, keep_target, last_target
from state.pending import Pending, begin, current_pending, forget, undo
from state.relay_requests import requests
from state.rollback_hold import RollbackHold, current_hold, keep_hold, release
from state.store import Store

LOCK_WAIT_S = 10.0


@dataclass(frozen=True, slots=True)
class PreparedApply:
    """What was decided, and is now to be done."""

    guarded: Guarded
    protected: frozenset[int]
    snapshot: HostSnapshot
    todo: HostPlan
    saved: SavedPlan
    replan: bool
    """Whether to plan anew when somebody else changes an engine meanwhile."""
    others: frozenset[int]
    """Relays of the target that are not the file's."""

    @property
    def own(self) -> State:
        """What of the target is the file's."""
        return files_own(self.guarded.target, self.others)


@dataclass(frozen=True, slots=True)
class Applier:
    """Applies orders, one at a time."""

    carrier: Converger
    store: Store
    host: Host

    def apply_state(
        self, target: State, policy: Policy, order: ApplyRequest, only: frozenset[int] = frozenset()
    ) -> Outcome:
        """Makes the engines match `target` (`only`: in these relays, and what they need), planning anew when one was
        changed meanwhile, had to be started again or came later.

        The outcome has every action that was carried out. Raises EngineUnavailable, EngineError, SpecUnfit, Locked,
        Unconfirmed, OSError.
        """
        with self._turn():
            engines = self.carrier.engines
            before = engines.observe()
            todo = plan_host(target, before)
            self.carrier.say(ready(engines.mounts, target, before))
            self.carrier.leave_parameters(todo)  # who starts waits for them
            snapshot = self.carrier.observe()
            last = last_target(self.store)
            intent = Intent(order.source, order.sha256, target, policy, order.owners, last, only)
            found = proposed(intent, snapshot)
            refuse_shortage(found.todo, snapshot, self.host)
            return self._carry_out(self._job(found, intent, snapshot), order)

    def _job(self, found: Proposal, intent: Intent, snapshot: HostSnapshot) -> PreparedApply:
        guarded = found.guarded
        last = protected_among(intent.last, intent.only) if intent.only else intent.last
        protected, others = carried_over(guarded, intent.policy, last), self._others(guarded.target)
        return PreparedApply(guarded, protected, snapshot, found.todo, found.saved, replan=True, others=others)

    def apply_saved(self, saved: SavedPlan, order: ApplyRequest, allowed: frozenset[int] = frozenset()) -> Outcome:
        """Carries out a saved plan, on the state that it was made for and on no other, and as a whole: a guard that
        has something against it now (`allowed`: relays that it may not hold back) refuses it. Raises Stale, and as
        `apply_state`."""
        policy = replace(saved.policy, allowed=saved.policy.allowed | allowed)
        with self._turn():
            snapshot = self.carrier.observe()
            refuse_stale(saved, snapshot, time.time())
            todo = to_host_plan(saved, snapshot)
            if todo.missing:
                self.carrier.leave_parameters(todo)
                self.carrier.wait_for(todo.missing)
                snapshot = self.carrier.observe()
                refuse_stale(saved, snapshot, time.time())
                todo = to_host_plan(saved, snapshot)
            last = last_target(self.store)
            guarded = guard(join(todo.targets.values()), snapshot, policy, last)
            refuse_held_back(guarded)
            refuse_shortage(todo, snapshot, self.host)
            protected = carried_over(guarded, policy, last)
            outcome = self._carry_out(
                PreparedApply(
                    guarded, protected, snapshot, todo, saved, replan=False, others=self._others(guarded.target)
                ),
                order,
            )
        if outcome.verdict is Verdict.STALE and outcome.rollback is None:
            done = number_of(len(outcome.steps), "action")
            raise Stale(f"{outcome.message}, after {done} of this plan; make a new one")
        return outcome

    def clear(self) -> None:
        """Rolls back what somebody began and did not bring to its end. Raises Unconfirmed when that is not possible
        yet, or it may still be confirmed."""
        with self._turn():
            pass

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """While the block runs, nobody else applies, and nothing is left to be undone."""
        left = current_pending(self.store)
        if left is not None:
            refuse_unconfirmed(left, left.due(time.time(), self._boots()))
        try:
            with locked(self.carrier.engines.run_dir / APPLY, LOCK_WAIT_S):
                left = current_pending(self.store)
                if left is not None:
                    why = left.due(time.time(), self._boots())
                    refuse_unconfirmed(left, why)
                    self._finish_off(left, why)
                yield
        except Locked:
            left = current_pending(self.store)
            if left is not None and left.deadline:
                raise Unconfirmed(waiting_words(left)) from None
            raise

    def _finish_off(self, left: Pending, why: str) -> None:
        self.carrier.say(f"{left.source}, applied by {left.who}, is rolled back first: {why}")
        outcome = self._roll_back(left, why)
        if outcome is not None:
            refuse_unfinished(left, outcome)

    def _carry_out(self, job: PreparedApply, order: ApplyRequest) -> Outcome:
        pending = self._begin(job, order) if order.undoable else None
        try:
            outcome = self._tried(job, pending is not None)
            self._remember(job, order, outcome)
            if pending is not None:
                outcome = self._on_trial(pending, order, outcome)
        except KeyboardInterrupt:
            if pending is not None:
                self._roll_back(pending, "it was interrupted")
            raise
        return replace(outcome, held_back=job.guarded.held_back)

    def _tried(self, job: PreparedApply, undoable: bool) -> Outcome:
        """What can be undone is so when the engine goes away, too."""
        try:
            return self.carrier.until_settled(job.guarded.target, job.snapshot, job.todo, job.replan)
        except (EngineUnavailable, EngineError) as error:
            if not undoable:
                raise
            return Outcome(Verdict.LOST, (), (), str(error))

    def _remember(self, job: PreparedApply, order: ApplyRequest, outcome: Outcome) -> None:
        reached_ = reached(job.guarded, job.protected, outcome)
        keep_target(self.store, reached_)
        write_down(self.store, order, job.saved, replace(outcome, held_back=job.guarded.held_back), job.own)
        if outcome.verdict is not Verdict.APPLIED:
            return
        if order.instead_of:
            why = f"{order.source} was put in its place by {order.who}"
            keep_hold(self.store, RollbackHold(frozenset({order.instead_of}), job.own, why, time.time(), job.protected))
        else:
            release(self.store, order.sha256)  # who applies it by hand wants it tried

    def _begin(self, job: PreparedApply, order: ApplyRequest) -> Pending:
        """Writes down what is live. Raises Unconfirmed when that can't be done: what is not written down could not be
        brought back."""
        last, before = last_target(self.store), as_wish(job.snapshot.states.values())
        hold = current_hold(self.store)
        pending = Pending(
            token=str(uuid.uuid4()),
            who=order.who,
            source=order.source,
            sha256=order.sha256,
            time=time.time(),
            before=before,
            protected=last.protected if last is not None else frozenset(),
            others=self._others(before),
            on_hold=hold.contents if hold is not None else frozenset(),
            confirm_s=order.confirm_s,
            file=order.becoming.file if order.becoming is not None else "",
            text=order.becoming.text if order.becoming is not None else "",
            was=order.becoming.was if order.becoming is not None else "",
        )
        begin(self.store, pending)
        if self.store.fault:
            raise Unconfirmed(f"{self.store.fault}\nwithout it nothing could be brought back, so nothing was done")
        return pending

    def _on_trial(self, pending: Pending, order: ApplyRequest, outcome: Outcome) -> Outcome:
        """What becomes of it in the end."""
        if outcome.verdict is not Verdict.APPLIED:
            why = outcome.message or "some of it did not work"
            return replace(outcome, rollback=self._roll_back(pending, why), why_undone=why)
        if not order.confirm_s:
            forget(self.store, pending)
            return outcome
        until = f"within {order.confirm_s:g} s"
        makes = f", which also makes it the content of {pending.file}" if pending.file else ""
        self.carrier.say(f"Applied and verified. It is rolled back unless this comes {until}: vio4wd confirm{makes}")
        why = waited(self.store, pending, outcome, self._boots)
        rollback = self._roll_back(pending, why) if why else None
        return replace(outcome, rollback=rollback, confirmed=rollback is None, why_undone=why)

    def _roll_back(self, pending: Pending, why: str) -> Outcome | None:
        """Makes live what was before; None when it was confirmed at the last moment."""
        if not undo(self.store, pending, why):
            return None
        pending = replace(pending, reason=why)
        snapshot = self.carrier.observe(patient=True)
        source, owners = f"{UNDOING}{pending.source}", owners_of(requests(self.store), pending.others)
        policy = Policy(pending.protected)
        found = proposed(Intent(source, pending.sha256, pending.before, policy, owners, guarded=False), snapshot)
        outcome = self.carrier.until_settled(pending.before, snapshot, found.todo, replan=True)
        own = files_own(pending.before, pending.others)
        write_down(self.store, ApplyRequest(pending.who, source, pending.sha256), found.saved, outcome, own)
        if outcome.verdict is Verdict.APPLIED:
            undone(self.store, pending, outcome)
        return outcome

    def _others(self, target: State) -> frozenset[int]:
        return others_of(target, requests(self.store))

    def _boots(self) -> dict[int, str]:
        return {shard: hello.boot_id for shard, hello in self.carrier.engines.ping().items()}


def reached(guarded: Guarded, protected: frozenset[int], outcome: Outcome) -> LastTarget:
    """What is to be remembered of what was wanted, and of how far it came."""
    boots = {version.shard: version.boot_id for version in outcome.versions if version.boot_id is not None}
    differs = frozenset(spot for spots in outcome.left.values() for spot in spots)
    return LastTarget(guarded.target, protected, boots, differs)


def to_host_plan(saved: SavedPlan, snapshot: HostSnapshot) -> HostPlan:
    """A saved plan as one that can be carried out on what is seen."""
    plans = plans_of(saved.planned_actions)
    shards = [version.shard for version in saved.versions]
    here = [shard for shard in shards if shard in snapshot.seen]
    later = plans_of(saved.follows)
    targets = {s: predict(predict(snapshot.states[s], plans.get(s, Plan())), later.get(s, Plan())) for s in here}
    for shard in (s for s in shards if s not in targets):
        todo = plans.get(shard, Plan())
        cpus = {cpu for pin in todo.pins.values() for cpu in (pin.vf_to_vm, pin.vm_to_vf)}
        born = State(engine=targets[here[0]].engine, workers=frozenset(Worker(cpu) for cpu in cpus))
        targets[shard] = predict(born, todo)
    missing = {s: missing_words(s) for s in shards if s not in here}
    return HostPlan(saved.planned_actions, dict(sorted(targets.items())), missing, saved.follows)
