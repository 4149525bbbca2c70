"""Plans that are only shown: what applying a file would do here, and what lies between two files, on no host at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.api.client import Observation
from reconciler.apply.proposal import Intent, Look, proposed
from reconciler.apply.saved_plan import SavedPlan
from reconciler.desired.desired_state import DesiredState
from reconciler.desired.from_spec import desired
from reconciler.desired.local import Local
from reconciler.desired.resolve import read_now
from reconciler.host.host import AnyHost, ThisHost
from reconciler.host.refusal import PlanProblem, SpecUnfit
from reconciler.observe.engines import Engines, HostSnapshot
from reconciler.planning.host_plan import plan_host
from reconciler.planning.plan import Plan
from reconciler.planning.planned_action import PlannedAction, plans_of
from reconciler.planning.predict import predict
from reconciler.policy.capacity import strangers
from reconciler.policy.removal_guards import policy_of, relay_ids
from reconciler.sources.files import host_names
from reconciler.status.plan_problems import frontends_refused, problems_of
from schema import Spec, compose
from schema.model import Mount, Socket, State
from state.applied import last_target
from state.store import Store

LACKING = frozenset({"no-cpu", "no-user", "no-group"})
"""What a host may have not of all that a spec names, by the codes of SpecUnfit: there is a plan all the same."""
VALID_S = 24 * 3600.0
"""How long a plan may be kept, unless another time is asked for."""
IMAGINED = "imagined"
"""The boot id of an engine that is nowhere: a plan for it can't be carried out."""

Notice = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Preview:
    """A plan, and what may be said about it beside."""

    saved: SavedPlan
    missing: tuple[str, ...]
    """On which engines it waits, as sentences."""
    remarks: tuple[str, ...]


def preview(
    file: Local,
    dirs: tuple[Path, Path],
    notice: Notice,
    valid_s: float = VALID_S,
    allowed: Sequence[str] = (),
    only: Sequence[str] = (),
) -> Preview:
    """What applying it would do on this host. `dirs` are the run and the state directory, `allowed` and `only` names of
    relays; `notice` is told what is said of the reading. Raises as `read_now`, and what the engines raise."""
    run_dir, state_dir = dirs
    store = Store(state_dir)
    try:
        found, unfit, names = _read(file, store, notice)
        last = last_target(store)
    finally:
        store.close()
    intent = Intent(
        source=str(file),
        sha256=found.spec.sha256,
        target=found.target,
        policy=policy_of(found.spec, allowed),
        owners=found.owners,
        last=last,
        only=relay_ids(only),
        revisions=found.revisions,
        path=file.absolute,
        valid_s=valid_s,
        problems=(*unfit, *frontends_refused(found.spec, run_dir)),
    )
    host = ThisHost()
    with Engines(run_dir, state_dir) as engines:
        made = proposed(intent, engines.observe_any(), host, looking_at(engines))
    remarks = strangers(made.todo, made.snapshot, host)
    return Preview(_with_names(made.saved, names), tuple(made.todo.missing.values()), tuple(remarks))


def looking_at(engines: Engines) -> Look:
    """Finds out what of a plan will not work."""
    return lambda todo, snapshot: problems_of(todo, snapshot, engines)


def _read(file: Local, store: Store, notice: Notice) -> tuple[DesiredState, tuple[PlanProblem, ...], Mapping[int, str]]:
    """What is wanted; what of that this host has not; the names of users that it has not, by the numbers that stand
    for them. Raises as `read_now` what is no matter of this host alone."""
    try:
        return read_now(file, ThisHost(), store, notice), (), {}
    except SpecUnfit as unfit:
        if not unfit.codes <= LACKING:
            raise
        host = AnyHost()
        return read_now(file, host, store, notice), unfit.obstacles, host.stand_ins


def difference(before: Local, after: Local) -> SavedPlan:
    """The plan from one to the other, on engines that are exactly as the first wants them. Raises SpecError,
    SpecUnfit."""
    host = AnyHost()
    wanted = _alone(after, host)
    target = desired(wanted, host)
    snapshot = _carried_out(desired(_alone(before, host), host))
    intent = Intent(str(after), wanted.sha256, target, guarded=False)
    return _with_names(proposed(intent, snapshot, host).saved, host.stand_ins)


def _alone(file: Local, host: AnyHost) -> Spec:
    """What it says, without any source."""
    return compose([file.read(host_names(host.name()))])


def _carried_out(target: State) -> HostSnapshot:
    """What engines would show that were started for this target, and on which it was applied. Raises SpecUnfit."""
    todo = plan_host(target, HostSnapshot())
    plans = plans_of(todo.planned_actions)
    observations = {}
    for shard, wanted in todo.targets.items():
        born = State(engine=wanted.engine, workers=wanted.workers)
        observations[shard] = Observation(IMAGINED, 0, predict(born, plans.get(shard, Plan())))
    return HostSnapshot(observations)


def _with_names(saved: SavedPlan, names: Mapping[int, str]) -> SavedPlan:
    """A plan that is only to be shown, with the names of owners that this machine has not in place of the numbers that
    stood for them."""
    if not names:
        return saved
    planned_actions, follows = (
        tuple(_planned(each, names) for each in part) for part in (saved.planned_actions, saved.follows)
    )
    states = {shard: _state(state, names) for shard, state in saved.states.items()}
    return replace(saved, planned_actions=planned_actions, follows=follows, states=states)


def _planned(planned: PlannedAction, names: Mapping[int, str]) -> PlannedAction:
    before, after = _named(planned.action.before, names), _named(planned.action.after, names)
    return replace(planned, action=replace(planned.action, before=before, after=after))


def _state(state: State, names: Mapping[int, str]) -> State:
    return replace(
        state,
        sockets={path: _named(each, names) for path, each in state.sockets.items()},
        mounts={path: _named(each, names) for path, each in state.mounts.items()},
    )


def _named(resource: Any, names: Mapping[int, str]) -> Any:
    if not isinstance(resource, Socket | Mount):
        return resource
    owner: Any = names.get(resource.uid or 0, resource.uid)  # a name where the model has a number: it is only shown
    group: Any = names.get(resource.gid or 0, resource.gid)
    return replace(resource, uid=owner, gid=group)
