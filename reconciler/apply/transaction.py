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
from reconciler.apply.history import reached, write_down
from reconciler.apply.outcome import Outcome, Verdict
from reconciler.apply.proposal import Intent, Proposal, proposed, proposed_again
from reconciler.apply.saved_plan import SavedPlan
from reconciler.apply.staleness import Stale, refuse_held_back, refuse_stale
from reconciler.host.host import Host
from reconciler.observe.engine_start import ready
from reconciler.observe.engines import HostSnapshot
from reconciler.planning.describe import number_of
from reconciler.planning.host_plan import as_desired, shard_targets
from reconciler.policy.capacity import refuse
from reconciler.policy.relay_subsets import files_own, others_of, owners_of
from reconciler.policy.removal_guards import Policy
from schema.model import State
from schema.system.locks import APPLY, Locked, locked
from state.applied import (
    Pending,
    RollbackHold,
    begin,
    current_hold,
    current_pending,
    forget,
    keep_hold,
    keep_target,
    last_target,
    release,
    undo,
)
from state.relay_requests import requests
from state.store import Store

LOCK_WAIT_S = 10.0


@dataclass(frozen=True, slots=True)
class ApplyTransaction:
    """Applies orders, one at a time."""

    converger: Converger
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
            snapshot = self._started(target)
            last = last_target(self.store)
            intent = Intent(order.source, order.sha256, target, policy, order.owners, last, only)
            found = proposed(intent, snapshot, self.host)
            refuse(found.shortages)
            return self._carry_out(found, order, replan=True)

    def apply_saved(self, saved: SavedPlan, order: ApplyRequest, allowed: frozenset[int] = frozenset()) -> Outcome:
        """Carries out a saved plan, on the state that it was made for and on no other, and as a whole: a guard that
        has something against it now (`allowed`: relays that it may not hold back) refuses it. Raises Stale, and as
        `apply_state`."""
        policy = replace(saved.policy, allowed=saved.policy.allowed | allowed)
        with self._turn():
            found = self._kept(saved, policy)
            if found.todo.missing:
                self.converger.leave_parameters(found.todo.targets)
                self.converger.wait_for(found.todo.missing)
                found = self._kept(saved, policy)
            refuse_held_back(found.guarded)
            refuse(found.shortages)
            outcome = self._carry_out(found, order, replan=False)
        if outcome.verdict is Verdict.STALE and outcome.rollback is None:
            done = number_of(len(outcome.steps), "action")
            raise Stale(f"{outcome.message}, after {done} of this plan; make a new one")
        return outcome

    def _started(self, target: State) -> HostSnapshot:
        """What is live; an engine that is still to come, or starts, is waited for, and finds what it needs."""
        engines = self.converger.engines
        before = engines.observe()
        if before.observations:
            return before
        targets = shard_targets(target, before)
        self.converger.say(ready(engines.mounts, target, before))
        self.converger.leave_parameters(targets)
        return self.converger.observe()

    def _kept(self, saved: SavedPlan, policy: Policy) -> Proposal:
        """Raises Stale when it is for another state than this."""
        snapshot = self.converger.observe()
        refuse_stale(saved, snapshot, time.time())
        return proposed_again(saved, policy, last_target(self.store), snapshot, self.host)

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
            with locked(self.converger.engines.run_dir / APPLY, LOCK_WAIT_S):
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
        self.converger.say(f"{left.source}, applied by {left.who}, is rolled back first: {why}")
        outcome = self._roll_back(left, why)
        if outcome is not None:
            refuse_unfinished(left, outcome)

    def _carry_out(self, found: Proposal, order: ApplyRequest, replan: bool) -> Outcome:
        """`replan`: plans anew when somebody else changes an engine meanwhile."""
        own = files_own(found.target, self._others(found.target))
        pending = self._begin(found.snapshot, order) if order.undoable else None
        try:
            outcome = replace(self._tried(found, replan, pending is not None), held_back=found.guarded.held_back)
            self._remember(found, own, order, outcome)
            if pending is not None:
                outcome = self._on_trial(pending, order, outcome)
        except KeyboardInterrupt:
            if pending is not None:
                self._roll_back(pending, "it was interrupted")
            raise
        return outcome

    def _tried(self, found: Proposal, replan: bool, undoable: bool) -> Outcome:
        """What can be undone is so when the engine goes away, too."""
        try:
            return self.converger.converge(found, replan)
        except (EngineUnavailable, EngineError) as error:
            if not undoable:
                raise
            return Outcome(Verdict.LOST, (), (), str(error))

    def _remember(self, found: Proposal, own: State, order: ApplyRequest, outcome: Outcome) -> None:
        """`own`: what of the target is the file's."""
        keep_target(self.store, reached(found, outcome))
        write_down(self.store, order, found.saved, outcome, own)
        if outcome.verdict is not Verdict.APPLIED:
            return
        if order.instead_of:
            why = f"{order.source} was put in its place by {order.who}"
            keep_hold(self.store, RollbackHold(frozenset({order.instead_of}), own, why, time.time(), found.protected))
        else:
            release(self.store, order.sha256)  # who applies it by hand wants it tried

    def _begin(self, snapshot: HostSnapshot, order: ApplyRequest) -> Pending:
        """Writes down what is live. Raises Unconfirmed when that can't be done: what is not written down could not be
        brought back."""
        last, before = last_target(self.store), as_desired(snapshot.states.values())
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
        self.converger.say(f"Applied and verified. It is rolled back unless this comes {until}: vio4wd confirm{makes}")
        why = waited(self.store, pending, outcome, self._boots)
        rollback = self._roll_back(pending, why) if why else None
        return replace(outcome, rollback=rollback, confirmed=rollback is None, why_undone=why)

    def _roll_back(self, pending: Pending, why: str) -> Outcome | None:
        """Makes live what was before; None when it was confirmed at the last moment."""
        if not undo(self.store, pending, why):
            return None
        pending = replace(pending, reason=why)
        snapshot = self.converger.observe(patient=True)
        source, owners = f"{UNDOING}{pending.source}", owners_of(requests(self.store), pending.others)
        intent = Intent(source, pending.sha256, pending.before, Policy(pending.protected), owners, guarded=False)
        found = proposed(intent, snapshot, self.host)
        outcome = self.converger.converge(found, replan=True)
        own = files_own(pending.before, pending.others)
        write_down(self.store, ApplyRequest(pending.who, source, pending.sha256), found.saved, outcome, own)
        if outcome.verdict is Verdict.APPLIED:
            undone(self.store, pending, outcome)
        return outcome

    def _others(self, target: State) -> frozenset[int]:
        return others_of(target, requests(self.store))

    def _boots(self) -> dict[int, str]:
        return {shard: hello.boot_id for shard, hello in self.converger.engines.ping().items()}
