"""What the watch loop is to make live now: what the spec says, or what stands in its place because it was undone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from reconciler.apply.commit_confirmed import UNDOING
from reconciler.apply.saved_plan import Origin
from reconciler.desired.spec_in_force import Accepted
from reconciler.observe.snapshot import HostSnapshot
from reconciler.policy.relay_subsets import files_own, with_others
from reconciler.policy.removal_guards import Guarded, Policy, guard
from schema.model import State
from state.last_applied import LastTarget
from state.pending import Pending, current_pending, undo
from state.rollback_hold import RollbackHold, current_hold, drop_hold
from state.store import Store


@dataclass(frozen=True, slots=True)
class Goal:
    """What is wanted, and why that is not what the spec says, if it is not."""

    guarded: Guarded
    policy: Policy
    undoing: Pending | None = None
    """The apply that this rolls back."""
    hold: RollbackHold | None = None
    others: frozenset[int] = frozenset()
    """Relays that are not the file's."""
    left_out: Mapping[int, str] = field(default_factory=dict)
    """Relays of other owners that can't be had beside what is held back, and why."""

    @property
    def own(self) -> State:
        """What of it is the file's."""
        return files_own(self.guarded.target, self.others)


@dataclass(frozen=True, slots=True)
class SpecGoal:
    """What the spec in force says."""

    sha256: str
    target: State
    policy: Policy
    others: frozenset[int] = frozenset()
    """Relays of the target that are not the file's."""


def aim(store: Store, request: SpecGoal, snapshot: HostSnapshot, last: LastTarget | None, now: float) -> Goal | None:
    """None as long as an apply may still be confirmed: then everything stays. To be called by whoever holds the lock
    for applying. A rollback is not guarded: it takes back what should not have been done, and nothing between."""
    left = current_pending(store)
    if left is not None:
        why = left.due(now, {version.shard: str(version.boot_id) for version in snapshot.versions})
        if not why or not undo(store, left, why):
            return None
        return Goal(Guarded(left.before), Policy(left.protected), replace(left, reason=why), others=left.others)
    hold = current_hold(store)
    if hold is not None and request.sha256 not in hold.contents:
        drop_hold(store)  # the content has changed
        hold = None
    policy = Policy(hold.protected, request.policy.allowed) if hold is not None else request.policy
    target = with_others(hold.state, request.target, request.others) if hold is not None else request.target
    others = frozenset(id_ for id_ in request.others if target.relays.get(id_) == request.target.relays[id_])
    left_out = dict.fromkeys(request.others - others, "what is kept up in place of the spec has its id, VF or socket")
    return Goal(guard(target, snapshot, policy, last), policy, hold=hold, others=others, left_out=left_out)


def undone_instead(store: Store, sha256: str) -> bool:
    """Whether something else is, or may be, to be kept up than this content."""
    hold = current_hold(store)
    return current_pending(store) is not None or (hold is not None and sha256 in hold.contents)


def origin(goal: Goal, accepted: Accepted, last: LastTarget | None) -> Origin:
    """Where a plan for it comes from."""
    file, sha256, revisions = accepted.shown.file, accepted.spec.sha256, accepted.revisions
    if goal.undoing is not None:
        file, sha256, revisions = f"{UNDOING}{goal.undoing.source}", goal.undoing.sha256, {}
    return Origin(file, sha256, goal.guarded, goal.policy, last, revisions)
