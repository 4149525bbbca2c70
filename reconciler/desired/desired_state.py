"""What is wanted of this host: a spec, with the requests of other owners, as a state that a plan can be made for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from reconciler.desired.from_spec import desired
from reconciler.host.host import Host
from reconciler.host.refusal import SpecUnfit
from reconciler.observe.engines import HostSnapshot
from reconciler.planning.host_plan import shard_targets
from reconciler.policy.claims import Claims, Conflict, merge_requests
from reconciler.sources.source import Reading
from schema import Spec
from schema.model import State
from state.relay_requests import RelayRequest, claimed_since, kept_pins, requests
from state.store import Store


@dataclass(frozen=True, slots=True)
class Requests:
    """What state remembers beside the file."""

    requests: tuple[RelayRequest, ...] = ()
    claimed_since: Mapping[str, float] = field(default_factory=dict)
    """Since when the file has what."""
    pins: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    """CPUs that relays were given from outside."""


def known_requests(store: Store) -> Requests:
    return Requests(requests(store), claimed_since(store), kept_pins(store))


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """How it stands with one source."""

    name: str
    attempted: str
    """The revision that was last seen; empty where there are none."""
    applied: str
    """The one that is in force."""
    problem: str
    """Why these differ, or why it can't be read; empty when all is well."""


@dataclass(frozen=True, slots=True)
class DesiredState:
    """A spec, and what it and everybody else wants."""

    spec: Spec
    """As the file and its sources have it."""
    target: State
    """With the relays of all owners."""
    owners: Mapping[int, str]
    """Of the relays that are not the file's."""
    left_out: tuple[Conflict, ...]
    claimed: Claims
    """By the file, as `state.relay_requests.claim` remembers it."""
    sources: tuple[SourceStatus, ...] = ()
    readings: Mapping[str, Reading] = field(default_factory=dict)
    """What of them is in force, by source."""

    @property
    def others(self) -> frozenset[int]:
        """The relays that owners beside the spec want."""
        return frozenset(id_ for id_, owner in self.owners.items() if owner != self.spec.owner)

    @property
    def refused(self) -> dict[int, str]:
        """Relay to why its owner, who is not the file, can't have it."""
        return {each.relay: each.reason for each in self.left_out if each.owner != self.spec.owner}

    @property
    def revisions(self) -> dict[str, str]:
        """In force, of the sources that have some."""
        return {source.name: source.applied for source in self.sources if source.applied}


def wanted(spec: Spec, known: Requests, host: Host) -> DesiredState:
    """Raises SpecUnfit when this host can't have what the spec asks for. A request that it can't have is left out."""
    try:
        return _wanted(spec, known.requests, known, host)
    except SpecUnfit:
        if not known.requests:
            raise
    return _as_many_as_fit(spec, known, host)


def pins_of(spec: Spec, kept: Mapping[int, tuple[int, int]]) -> dict[int, tuple[int, int]]:
    """The CPUs that are wanted, by relay: the spec's, those given from outside where the spec leaves that open, else
    those that it has for relays to come."""
    workers = set(spec.engine.worker_cpus)
    ours = {relay.id: relay.cpus for relay in spec.relays if relay.cpus is not None}
    given = {relay: cpus for relay, cpus in kept.items() if workers.issuperset(cpus)}
    to_come = {pin.relay: pin.cpus for pin in spec.pins}
    return {**to_come, **ours, **given} if spec.balance.override else {**to_come, **given, **ours}


def _wanted(spec: Spec, asked: Sequence[RelayRequest], known: Requests, host: Host) -> DesiredState:
    """Raises SpecUnfit: also when no engines, however empty, could have it."""
    whole = merge_requests(spec, asked, known.claimed_since)
    cpus = pins_of(whole.spec, known.pins)
    relays = tuple(replace(relay, cpus=cpus.get(relay.id)) for relay in whole.spec.relays)
    target = desired(replace(whole.spec, relays=relays), host)
    shard_targets(target, HostSnapshot())
    return DesiredState(spec, target, whole.owners, whole.left_out, whole.claimed)


def _as_many_as_fit(spec: Spec, known: Requests, host: Host) -> DesiredState:
    """Who came first is served first; the file before all others."""
    fits: list[RelayRequest] = []
    out: list[Conflict] = []
    found = _wanted(spec, (), known, host)
    for request in known.requests:
        try:
            found = _wanted(spec, [*fits, request], known, host)
            fits.append(request)
        except SpecUnfit as error:
            out.append(Conflict(request.owner, request.relay, "; ".join(error.reasons)))
    return replace(found, left_out=(*found.left_out, *out))
