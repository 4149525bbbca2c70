"""What differs because somebody changed it, what because it could not be done yet, and what to leave alone.

Whatever was verified to match and differs later, on the same engines and with the same target, has drifted. What an
engine lost by itself (a VF that was pulled out) has not: it heals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from reconciler.apply.outcome import Outcome, StepResult
from reconciler.host.refusal import is_retryable
from reconciler.observe.engines import HostSnapshot
from reconciler.planning.describe import words
from reconciler.planning.host_plan import HostPlan
from reconciler.planning.planned_action import PlannedAction
from schema.model import Action, Key, Kind, State, Verb
from state.applied import LastTarget, ResourceRef

EngineRefusal = tuple[str, Verb, ResourceRef, object]
"""The engine's boot id, and what it was asked for and refused."""
HINT = "the spec says drift: report, so it stays until that is changed, or vio4wd apply sets it right"


@dataclass(frozen=True, slots=True)
class LastVerified:
    """What was verified last, and what was learned from it; it holds for one target."""

    target: State
    boots: Mapping[int, str] = field(default_factory=dict)
    """Shard to the boot id of its engine, of those that were observed at the end."""
    open: frozenset[ResourceRef] = frozenset()
    """What did not match yet."""
    hopeless: Mapping[EngineRefusal, str] = field(default_factory=dict)
    """What was refused in a way that time does not heal, with the engine's sentence."""


def verified_before(last: LastTarget | None) -> LastVerified | None:
    """What was known at the end of another process."""
    return LastVerified(last.state, last.boots, last.open) if last is not None else None


def still(verified: LastVerified | None, target: State) -> LastVerified | None:
    """What is known, if it holds for this target."""
    return verified if verified is not None and verified.target == target else None


def drifted(todo: HostPlan, snapshot: HostSnapshot, verified: LastVerified | None) -> frozenset[ResourceRef]:
    """The resources of a plan that somebody changed."""
    if verified is None:
        return frozenset()
    return frozenset(
        ref
        for planned in todo.planned_actions
        if (ref := ref_of(planned)) not in verified.open
        and planned.shard in snapshot.observations
        and verified.boots.get(planned.shard) == snapshot.observations[planned.shard].boot_id
        and not _lost(planned.action, snapshot.states[planned.shard])
    )


def ref_of(planned: PlannedAction) -> ResourceRef:
    return planned.shard, planned.action.kind, planned.action.key


def positions(todo: HostPlan, target: State, snapshot: HostSnapshot, last: LastTarget | None) -> frozenset[int]:
    """The positions of a plan's actions that set right what has drifted since the engines were last made as wanted:
    what is wanted of these is what was wanted then."""
    if last is None:
        return frozenset()
    refs = drifted(todo, snapshot, LastVerified(last.state, last.boots, last.open))
    same = _wanted_the_same(target, last.state)
    return frozenset(
        place
        for place, planned in enumerate(todo.planned_actions)
        if (ref := ref_of(planned)) in refs and same(ref[1], ref[2])
    )


def _wanted_the_same(one: State, other: State) -> Callable[[Kind, Key], bool]:
    targets = [{(kind, key): r for kind in Kind for key, r in state.resources(kind).items()} for state in (one, other)]
    return lambda kind, key: targets[0].get((kind, key)) == targets[1].get((kind, key))


def _lost(action: Action, live: State) -> bool:
    """Whether the engine itself gave it up: what a live relay holds, nobody can remove."""
    if action.verb is not Verb.ADD or action.kind not in (Kind.PORT, Kind.SOCKET):
        return False
    return any(action.key in (relay.port, relay.socket) for relay in live.relays.values())


def differences(todo: HostPlan, refs: frozenset[ResourceRef] | None = None) -> tuple[str, ...]:
    """What would set right what has drifted (None: all that the plan does), each in a few words."""
    found = [planned.action for planned in todo.planned_actions if refs is None or ref_of(planned) in refs]
    return tuple(f"{action.verb} {action.resource}  {words(action)}".rstrip() for action in found)


def without_drift(
    todo: HostPlan, snapshot: HostSnapshot, verified: LastVerified | None, report: bool
) -> tuple[HostPlan, frozenset[ResourceRef], tuple[str, ...]]:
    """The plan without what is to be left alone; what of that is drift (`report`: it is only said); and what has
    drifted, in words."""
    refs = drifted(todo, snapshot, verified)
    drift = refs if report else frozenset()
    return hold_back(todo, snapshot, verified, drift), drift, differences(todo, refs)


def hold_back(
    todo: HostPlan, snapshot: HostSnapshot, verified: LastVerified | None, drift: frozenset[ResourceRef]
) -> HostPlan:
    """The plan with `drift` held back, and what would only be refused again."""
    if verified is None:
        return todo
    marked = (replace(each, held_back=_reason(each, snapshot, verified, drift)) for each in todo.planned_actions)
    return replace(todo, planned_actions=tuple(marked))


def _reason(
    planned: PlannedAction, snapshot: HostSnapshot, verified: LastVerified, drift: frozenset[ResourceRef]
) -> str:
    if ref_of(planned) in drift:
        return f"somebody changed it; {HINT}"
    refused = verified.hopeless.get(_refusal(planned.shard, planned.action, _boot(snapshot, planned.shard)))
    return planned.held_back if refused is None else f"{refused} (not tried again until the spec changes)"


def _boot(snapshot: HostSnapshot, shard: int) -> str:
    return snapshot.observations[shard].boot_id if shard in snapshot.observations else ""


def _refusal(shard: int, action: Action, boot_id: str) -> EngineRefusal:
    return boot_id, action.verb, (shard, action.kind, action.key), (action.before, action.after)


def learned(
    before: LastVerified | None, target: State, outcome: Outcome, drift: frozenset[ResourceRef]
) -> LastVerified:
    """What is known after a plan for `target` was carried out; `drift` was held back."""
    known = still(before, target) or LastVerified(target)
    boots = {version.shard: str(version.boot_id) for version in outcome.versions}
    boots = {shard: boot_id for shard, boot_id in boots.items() if shard in outcome.left}
    open_ = frozenset(ref for refs in outcome.left.values() for ref in refs) - drift
    refused = {
        _refusal(step.shard, step.action, boots[step.shard]): step.message
        for step in outcome.steps
        if step.ending is StepResult.FAILED and step.shard in boots and not is_retryable(step.code)
    }
    return LastVerified(target, boots, open_, {**known.hopeless, **refused})
