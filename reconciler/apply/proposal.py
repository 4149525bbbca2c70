"""From what is wanted to a plan, with all that is to be known of it: one way for all who show or apply one, so that
each guards, names owners and says what will not work. Each adds only what is its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from reconciler.apply.drift import positions
from reconciler.apply.saved_plan import SavedPlan
from reconciler.host.host import Host
from reconciler.host.refusal import PlanProblem
from reconciler.observe.engines import EngineVersion, HostSnapshot
from reconciler.planning.host_plan import HostPlan, join, missing_words, plan_host
from reconciler.planning.plan import Plan
from reconciler.planning.planned_action import PlannedAction, plans_of
from reconciler.planning.predict import predict
from reconciler.policy.capacity import shortages
from reconciler.policy.relay_subsets import protected_among, targeted
from reconciler.policy.removal_guards import Guarded, Policy, carried_over, guard
from schema.model import Action, Kind, State, Worker
from state.applied import LastTarget

TEMPLATE = "template"
"""Who owns the sockets that exist before any relay needs them."""
Look = Callable[[HostPlan, HostSnapshot], Iterable[PlanProblem]]
"""What else of a plan will not work, as reconciler.status.plan_problems finds it."""


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
    """Of the sources that it was read from, where they have some."""
    path: str = ""
    """Of the file, absolute; empty where there is none."""
    guarded: bool = True
    """A rollback is not: it takes back what should not have been, and stops at nothing halfway."""
    valid_s: float = 0.0
    """How long a plan for it may be kept."""
    problems: tuple[PlanProblem, ...] = ()
    """What is known before there is a plan."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """What may be done about it, on the engines as they were seen."""

    intent: Intent
    snapshot: HostSnapshot
    guarded: Guarded
    """What may be done of it, and what is held back."""
    todo: HostPlan
    """With the names of owners."""
    shortages: tuple[PlanProblem, ...]
    """What this host has too little of."""
    saved: SavedPlan
    """The plan as a document."""

    @property
    def target(self) -> State:
        return self.guarded.target

    @property
    def protected(self) -> frozenset[int]:
        """What is protected once it was applied."""
        return carried_over(self.guarded, self.intent.policy, self.intent.last)

    def again(self, snapshot: HostSnapshot) -> HostPlan:
        """What is left to be done on the engines as they are now; what was held back stays so. Raises SpecUnfit."""
        return with_owners(plan_host(self.target, snapshot), self.intent.owners)


def proposed(intent: Intent, snapshot: HostSnapshot, host: Host, look: Look | None = None) -> Proposal:
    """`look`: for a plan that is to be shown, with all that will not work. Raises SpecUnfit when the relays can't be
    divided among engine processes."""
    if intent.only:
        target = targeted(intent.target, snapshot, intent.only, intent.last)
        intent = replace(intent, target=target, last=protected_among(intent.last, intent.only))
    target = intent.target
    guarded = guard(target, snapshot, intent.policy, intent.last) if intent.guarded else Guarded(target)
    todo = with_owners(plan_host(guarded.target, snapshot), intent.owners)
    short = shortages(todo, snapshot, host) if intent.guarded else ()  # what is undone is undone as far as it goes
    problems = (*intent.problems, *dict.fromkeys((*short, *look(todo, snapshot)))) if look is not None else ()
    return Proposal(intent, snapshot, guarded, todo, short, _document(intent, snapshot, guarded, todo, problems))


def proposed_again(
    saved: SavedPlan, policy: Policy, last: LastTarget | None, snapshot: HostSnapshot, host: Host
) -> Proposal:
    """A plan that was kept, on the engines as they are now: nothing is planned anew."""
    todo = to_host_plan(saved, snapshot)
    intent = Intent(saved.file, saved.sha256, join(todo.targets.values()), policy, last=last)
    guarded = guard(intent.target, snapshot, policy, last)
    return Proposal(intent, snapshot, guarded, todo, shortages(todo, snapshot, host), saved)


def _document(
    intent: Intent, snapshot: HostSnapshot, guarded: Guarded, todo: HostPlan, problems: tuple[PlanProblem, ...]
) -> SavedPlan:
    now = round(time.time(), 3)
    return SavedPlan(
        versions=tuple(_version(shard, snapshot) for shard in todo.targets if shard not in snapshot.silent),
        planned_actions=todo.planned_actions,
        file=intent.source,
        sha256=intent.sha256,
        held_back=guarded.held_back,
        policy=intent.policy,
        states={shard: state for shard, state in snapshot.states.items() if shard in todo.targets},
        drift=positions(todo, guarded.target, snapshot, intent.last),
        revisions=dict(intent.revisions),
        follows=todo.follows,
        problems=problems,
        path=intent.path,
        made=now,
        expires=now + intent.valid_s,
    )


def _version(shard: int, snapshot: HostSnapshot) -> EngineVersion:
    found = snapshot.observations.get(shard)
    return EngineVersion(shard, found.boot_id, found.generation) if found is not None else EngineVersion(shard, None, 0)


def to_host_plan(saved: SavedPlan, snapshot: HostSnapshot) -> HostPlan:
    """A saved plan as one that can be carried out on what is seen."""
    plans = plans_of(saved.planned_actions)
    shards = [version.shard for version in saved.versions]
    here = [shard for shard in shards if shard in snapshot.observations]
    later = plans_of(saved.follows)
    targets = {s: predict(predict(snapshot.states[s], plans.get(s, Plan())), later.get(s, Plan())) for s in here}
    for shard in (s for s in shards if s not in targets):
        todo = plans.get(shard, Plan())
        cpus = {cpu for pin in todo.pins.values() for cpu in (pin.vf_to_vm, pin.vm_to_vf)}
        born = State(engine=targets[here[0]].engine, workers=frozenset(Worker(cpu) for cpu in cpus))
        targets[shard] = predict(born, todo)
    missing = {s: missing_words(s) for s in shards if s not in here}
    return HostPlan(saved.planned_actions, dict(sorted(targets.items())), missing, saved.follows)


def with_owners(todo: HostPlan, owners: Mapping[int, str]) -> HostPlan:
    """A plan that says whose relays it touches, where they are not the file's."""
    planned_actions, follows = (
        tuple(_owned(each, owners) for each in part) for part in (todo.planned_actions, todo.follows)
    )
    return replace(todo, planned_actions=planned_actions, follows=follows)


def _owned(planned: PlannedAction, owners: Mapping[int, str]) -> PlannedAction:
    owner = _owner(planned.action, owners)
    if not owner:
        return planned
    return replace(planned, action=replace(planned.action, reason=f"{planned.action.reason} (owner: {owner})"))


def _owner(action: Action, owners: Mapping[int, str]) -> str:
    """Empty: the file's. A socket that no relay uses is the template's."""
    if action.relay is None:
        return TEMPLATE if action.kind is Kind.SOCKET else ""
    return owners.get(action.relay, "")
