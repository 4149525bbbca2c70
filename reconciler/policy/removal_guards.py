"""What must not be removed just because a file no longer has it: a guard holds that back until it is allowed by name.

A removal is a relay that is live and no longer wanted, or whose socket is: its guest is then on a socket that nobody
serves. A relay that is taken down for a moment, to be set up again with another VF or on another engine, is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace

from reconciler.observe.actions import needs_new_process
from reconciler.observe.diff import with_relay, without_relay
from reconciler.observe.engines import HostSnapshot
from reconciler.planning.host_plan import join
from schema.model import STARTED_WITH, Engine, State
from schema.rules.claims import of_state, rivals
from schema.spec import Spec
from state.applied import LastTarget

FEW = 3
"""From so many live relays on, a plan may not remove more than half of them at once: of one or two, half is nothing
out of the ordinary."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What a spec, or whoever asks for a plan, has to say about removals, as relay ids."""

    protected: frozenset[int] = frozenset()
    allowed: frozenset[int] = frozenset()
    """Overrides every guard."""


@dataclass(frozen=True, slots=True)
class HeldBack:
    """One resource that is left as it is."""

    resource: str
    reason: str
    allow: str
    """The relay whose removal has to be allowed."""

    def __str__(self) -> str:
        return f"{self.resource} is left as it is: {self.reason}; to have it all the same: {self.command}"

    @property
    def command(self) -> str:
        return f"vio4wd apply --allow-destroy {self.allow} FILE"

    def to_json(self) -> dict[str, str]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Guarded:
    """What may be wanted of a target, and what of it was held back, sorted by resource."""

    target: State
    held_back: tuple[HeldBack, ...] = ()


def policy_of(spec: Spec, allowed: Iterable[str] = (), released: frozenset[int] = frozenset()) -> Policy:
    """`allowed` are further names (`relay:3`), `released` the relays that owners beside the file have taken back."""
    return Policy(
        protected=frozenset(relay.id for relay in spec.relays if relay.protect),
        allowed=relay_ids((*spec.allow_destroy, *allowed)) | released,
    )


def relay_ids(names: Iterable[str]) -> frozenset[int]:
    """The ids in names such as `relay:3`."""
    return frozenset(int(name.removeprefix("relay:")) for name in names)


def guard(target: State, snapshot: HostSnapshot, policy: Policy, last: LastTarget | None = None) -> Guarded:
    """The target with everything put back that a guard does not allow to go."""
    live = join(snapshot.states.values()) if snapshot.observations else State()
    known = _known(live, last)
    protected = policy.protected | (last.protected if last is not None else frozenset())
    going = removals(target, known) - policy.allowed
    reasons = _reasons(target, live, going, protected, _connected(snapshot))
    if not reasons:
        return Guarded(target)
    held_back = {id_: HeldBack(f"relay:{id_}", why, f"relay:{id_}") for id_, why in reasons.items()}
    whole = _put_back(target, known, held_back)
    return Guarded(*_keep_engine(whole, live, held_back))


def carried_over(guarded: Guarded, policy: Policy, last: LastTarget | None) -> frozenset[int]:
    """What is protected once this was applied. Whoever is held back stays so, also when what protected it was taken
    out of the spec together with the relay."""
    kept = relay_ids(each.resource for each in guarded.held_back if each.resource.startswith("relay:"))
    return policy.protected | (last.protected & kept if last is not None else frozenset())


def removals(target: State, live: State) -> frozenset[int]:
    """The relays that a target takes away from their guests for good."""
    return frozenset(
        id_ for id_, relay in live.relays.items() if id_ not in target.relays or relay.socket not in target.sockets
    )


def _known(live: State, last: LastTarget | None) -> State:
    """What is live, and what was protected and should be live: an engine that died does not make it unwanted."""
    gone = [id_ for id_ in sorted(last.protected) if id_ not in live.relays] if last is not None else []
    whole = live
    for id_ in gone:
        if last is not None and id_ in last.state.relays:
            whole = with_relay(whole, last.state, id_)
    return whole


def _connected(snapshot: HostSnapshot) -> frozenset[int]:
    """The relays whose guest is there."""
    return frozenset(
        id_
        for observation in snapshot.observations.values()
        for id_, relay in observation.state.relays.items()
        if observation.live.socket(relay.socket).guest
    )


def _reasons(
    target: State, live: State, going: frozenset[int], protected: frozenset[int], connected: frozenset[int]
) -> dict[int, str]:
    """Why relays may not go, by id."""
    reasons: dict[int, str] = {}
    many = (going & live.relays.keys()) - target.relays.keys()
    if len(live.relays) >= FEW and 2 * len(many) > len(live.relays):
        why = f"{len(many)} of {len(live.relays)} relays would be removed at once"
        reasons |= dict.fromkeys(many, why)
    reasons |= dict.fromkeys(going & connected, "its guest is connected")
    reasons |= dict.fromkeys(going & protected, "it is protected (protect: true)")
    return dict(sorted(reasons.items()))


def _put_back(target: State, known: State, held_back: dict[int, HeldBack]) -> State:
    """With the relays held back as they are, and so everybody whose VF or socket they keep; `held_back` grows by
    these."""
    whole = target
    templated = len(target.sockets) > len(target.relays)
    todo = sorted(held_back)
    while todo:
        id_ = todo.pop(0)
        for other in _in_the_way(whole, known, id_):
            why = f"it needs the VF or socket of relay {id_}, which is held back"
            held_back[other] = HeldBack(f"relay:{other}", why, held_back[id_].allow)
            whole = without_relay(whole, other)
            todo += [other] if other in known.relays else []
        whole = with_relay(without_relay(whole, id_), known, id_)
    # Sockets without a relay are the template's: one that nobody uses now stays as they do.
    return replace(whole, sockets={**target.sockets, **whole.sockets}) if templated else whole


def _in_the_way(whole: State, known: State, id_: int) -> list[int]:
    """Who else wants what this relay has."""
    others = {other: of_state(whole, other) for other in whole.relays if other != id_}
    return list(dict.fromkeys(other for other, _ in rivals(of_state(known, id_), others)))


def _keep_engine(whole: State, live: State, held_back: Mapping[int, HeldBack]) -> tuple[State, tuple[HeldBack, ...]]:
    """No new process while something is held back: the next one would start without it."""
    names = tuple(held_back[id_] for id_ in sorted(held_back))
    if not live.relays or not needs_new_process(live.engine, whole.engine):
        return whole, names
    kept: Engine = replace(whole.engine, **{name: getattr(live.engine, name) for name in STARTED_WITH})
    first = names[0]
    why = f"a new process would end {first.resource}, which is held back"
    return replace(whole, engine=kept), (HeldBack("engine:0", why, first.allow), *names)
