"""From what is wanted to a plan, with all that is to be known of it: one way for every command that shows or applies
one, so that each guards, names owners and says what will not work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from reconciler.apply.saved_plan import Origin, SavedPlan, save
from reconciler.desired.desired_state import with_owners
from reconciler.host.refusal import PlanProblem
from reconciler.observe.snapshot import HostSnapshot
from reconciler.planning.host_plan import HostPlan, plan_host
from reconciler.policy.relay_subsets import protected_among, targeted
from reconciler.policy.removal_guards import Guarded, Policy, guard
from schema.model import State
from state.last_applied import LastTarget

Look = Callable[[HostPlan, HostSnapshot], tuple[PlanProblem, ...]]
"""What of a plan will not work, as reconciler.status.plan_problems finds it."""


@dataclass(frozen=True, slots=True)
class Intent:
    """What is wanted, and on whose word."""

    source: str
    sha256: str
    target: State
    policy: Policy = field(default_factory=Policy)
    owners: Mapping[int, str] = field(default_factory=dict)
    """Of the relays that are not the file's."""
    last: LastTarget | None = None
    """What was wanted last, if that is known."""
    only: frozenset[int] = frozenset()
    """Nothing but these relays, and what they need; empty: everything."""
    revisions: Mapping[str, str] = field(default_factory=dict)
    path: str = ""
    """Of the file, absolute."""
    guarded: bool = True
    """A rollback is not: it takes back what should not have been, and stops at nothing halfway."""
    valid_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Proposal:
    """What may be done about it."""

    guarded: Guarded
    todo: HostPlan
    saved: SavedPlan


def nothing_looked_at(todo: HostPlan, snapshot: HostSnapshot) -> tuple[PlanProblem, ...]:
    """For plans of no host in particular."""
    del todo, snapshot
    return ()


def proposed(intent: Intent, snapshot: HostSnapshot, look: Look = nothing_looked_at) -> Proposal:
    """Raises SpecUnfit when the relays can't be divided among engine processes."""
    target, last = intent.target, intent.last
    if intent.only:
        target, last = targeted(target, snapshot, intent.only, last), protected_among(last, intent.only)
    guarded = guard(target, snapshot, intent.policy, last) if intent.guarded else Guarded(target)
    todo = with_owners(plan_host(guarded.target, snapshot), intent.owners)
    origin = Origin(intent.source, intent.sha256, guarded, intent.policy, last, intent.revisions, intent.path)
    return Proposal(guarded, todo, save(todo, snapshot, origin, intent.valid_s, look(todo, snapshot)))
