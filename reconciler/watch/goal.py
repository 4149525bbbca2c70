"""What the watch loop is to make live now: what the spec says, or what stands in its place because it was undone."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from reconciler.apply.commit_confirmed import UNDOING
from reconciler.apply.proposal import Intent, Proposal, proposed
from reconciler.desired.desired_state import DesiredState
from reconciler.host.host import Host
from reconciler.host.hugepages import HostMounts
from reconciler.host.refusal import SpecUnfit
from reconciler.observe.engine_start import EngineStart, ready
from reconciler.observe.engines import HostSnapshot
from reconciler.planning.host_plan import shard_targets
from reconciler.policy.relay_subsets import files_own, with_others
from reconciler.policy.removal_guards import Policy, policy_of
from schema.model import State
from state.applied import Pending, RollbackHold, current_hold, current_pending, drop_hold, last_target, undo
from state.relay_requests import released
from state.store import Store


@dataclass(frozen=True, slots=True)
class Goal:
    """What is to be made live, and why that is not what the spec says, if it is not."""

    found: Proposal
    undoing: Pending | None = None
    """The apply that this rolls back."""
    hold: RollbackHold | None = None
    others: frozenset[int] = frozenset()
    """Relays that are not the file's."""
    left_out: Mapping[int, str] = field(default_factory=dict)
    """Relays of other owners that can't be relayed beside what is held back, and why."""

    @property
    def own(self) -> State:
        """What of it is the file's."""
        return files_own(self.found.target, self.others)

    @property
    def instead(self) -> str:
        """Why it is not the spec that is kept up; empty: it is."""
        if self.undoing is not None:
            return f"{self.undoing.source} is being rolled back: {self.undoing.reason}"
        return self.hold.reason if self.hold is not None else ""


def choose_goal(store: Store, file: str, accepted: DesiredState, snapshot: HostSnapshot, host: Host) -> Goal | None:
    """None as long as an apply may still be confirmed: then everything stays. To be called by whoever holds the lock
    for applying. A rollback is not guarded: it takes back what should not have been done, and nothing between. Raises
    SpecUnfit."""
    left = current_pending(store)
    if left is None:
        return _kept_up(store, file, accepted, snapshot, host)
    why = left.due(time.time(), {version.shard: str(version.boot_id) for version in snapshot.versions})
    if not why or not undo(store, left, why):
        return None
    source, policy, owners = f"{UNDOING}{left.source}", Policy(left.protected), accepted.owners
    intent = Intent(source, left.sha256, left.before, policy, owners, last_target(store), guarded=False)
    return Goal(proposed(intent, snapshot, host), replace(left, reason=why), others=left.others)


def _kept_up(store: Store, file: str, accepted: DesiredState, snapshot: HostSnapshot, host: Host) -> Goal:
    """The spec; after a rollback what was live before, as long as the spec's content is the one that was undone."""
    hold = current_hold(store)
    if hold is not None and accepted.spec.sha256 not in hold.contents:
        drop_hold(store)  # the content has changed
        hold = None
    policy = policy_of(accepted.spec, released=released(store))
    target, relays = accepted.target, accepted.target.relays
    if hold is not None:
        policy, target = Policy(hold.protected, policy.allowed), with_others(hold.state, target, accepted.others)
    others = frozenset(id_ for id_ in accepted.others if target.relays.get(id_) == relays[id_])
    why = "what is kept up in place of the spec has its id, VF or socket"
    sha256, revisions = accepted.spec.sha256, accepted.revisions
    intent = Intent(file, sha256, target, policy, accepted.owners, last_target(store), revisions=revisions)
    return Goal(
        proposed(intent, snapshot, host),
        hold=hold,
        others=others,
        left_out=dict.fromkeys(accepted.others - others, why),
    )


def prepare_start(start: EngineStart, target: State, mounts: HostMounts, snapshot: HostSnapshot) -> str:
    """Readies the host for the engines that this will need, and leaves them their parameters. Gives a sentence where it
    has too little memory for it."""
    try:
        targets = shard_targets(target, snapshot)
    except SpecUnfit as error:
        start.fault = f"an engine that starts now finds no parameters: {error}"
        return ""
    lacking = ready(mounts, target, snapshot)
    start.leave(targets)
    return lacking


def undone_instead(store: Store, sha256: str) -> bool:
    """Whether something else is, or may be, to be kept up than this content."""
    hold = current_hold(store)
    return current_pending(store) is not None or (hold is not None and sha256 in hold.contents)
