"""What is wanted of this host: a spec, with the wishes of other owners, as a state that a plan can be made for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from reconciler.desired import SpecUnfit, desired
from reconciler.errands import Errand
from reconciler.host import Host
from reconciler.hostplan import HostPlan, plan_host
from reconciler.owners import LeftOut, Merged, merged
from reconciler.sighting import Sighting
from schema import Spec
from schema.model import State
from state.wishes import Wish


@dataclass(frozen=True, slots=True)
class Wanted:
    """A spec, and what it and everybody else wants."""

    spec: Spec
    target: State
    merged: Merged

    @property
    def owners(self) -> Mapping[int, str]:
        """Of the relays that are not the file's."""
        return self.merged.owners

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        return self.merged.left_out


def wanted(spec: Spec, wishes: Sequence[Wish], held: Mapping[str, float], host: Host) -> Wanted:
    """Raises SpecUnfit when this host can't have what the spec asks for. A wish that it can't have is left out."""
    try:
        return _wanted(spec, merged(spec, wishes, held), host)
    except SpecUnfit:
        if not wishes:
            raise
    return _as_many_as_fit(spec, wishes, held, host)


def _wanted(spec: Spec, whole: Merged, host: Host) -> Wanted:
    """Raises SpecUnfit: also when no engines, however empty, could have it."""
    target = desired(whole.spec, host)
    plan_host(target, Sighting())
    return Wanted(spec, target, whole)


def _as_many_as_fit(spec: Spec, wishes: Sequence[Wish], held: Mapping[str, float], host: Host) -> Wanted:
    """Who came first is served first; the file before all others."""
    fits: list[Wish] = []
    out: list[LeftOut] = []
    found = _wanted(spec, merged(spec, (), held), host)
    for wish in wishes:
        try:
            found = _wanted(spec, merged(spec, [*fits, wish], held), host)
            fits.append(wish)
        except SpecUnfit as error:
            out.append(LeftOut(wish.owner, wish.relay, "; ".join(error.reasons)))
    return replace(found, merged=replace(found.merged, left_out=(*found.merged.left_out, *out)))


def with_owners(todo: HostPlan, owners: Mapping[int, str]) -> HostPlan:
    """A plan that says whose relays it touches, where they are not the file's."""
    return replace(todo, errands=tuple(_owned(errand, owners) for errand in todo.errands))


def _owned(errand: Errand, owners: Mapping[int, str]) -> Errand:
    owner = owners.get(errand.action.relay) if errand.action.relay is not None else None
    if owner is None:
        return errand
    return replace(errand, action=replace(errand.action, reason=f"{errand.action.reason} (owner: {owner})"))
