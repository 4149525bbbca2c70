"""Who wants which relay, when several may say so: the file, and owners whose requests are remembered.

Each relay, VF and socket has one owner. Where two want the same, the one who came later is left out and told so; it is
never settled by who came last.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any

import schema
from schema import Spec, SpecError
from schema.rules.host_policy import Policy, in_force
from schema.spec import FILE, RelaySpec, VhostUserSpec, socket_path
from schema.vf import below
from state.relay_requests import RelayRequest


@dataclass(frozen=True, slots=True)
class Conflict:
    """A relay that is wanted and not had."""

    owner: str
    relay: int
    reason: str

    def __str__(self) -> str:
        return f"relay {self.relay} of {self.owner} is left out: {self.reason}"


@dataclass(frozen=True, slots=True)
class MergedRelays:
    """A spec with the relays of all owners."""

    spec: Spec
    owners: Mapping[int, str]
    """Of the relays that are not the file's."""
    left_out: tuple[Conflict, ...]
    claimed: frozenset[str]
    """What the file claims, as `state.relay_requests.claim` remembers it."""


def merged(spec: Spec, requests: Sequence[RelayRequest], claimed_since: Mapping[str, float]) -> MergedRelays:
    """`requests` in the order in which they came; `claimed_since`: since when the file claims what. What it did not
    claim before, it claims now, after everybody else."""
    ours = {relay.id: claims(spec.vhost_user, relay) for relay in spec.relays}
    taken: dict[str, RelayRequest] = {}
    had: dict[int, tuple[str, RelaySpec]] = {}
    out: list[Conflict] = []
    for request in requests:
        try:
            relay = _asked(request, spec)
        except SpecError as error:
            out.append(Conflict(request.owner, request.relay, "; ".join(problem.message for problem in error.problems)))
            continue
        things = claims(spec.vhost_user, relay)
        against = _in_the_way(request, things, ours, claimed_since, spec.owner) or _taken(things, taken)
        if against:
            out.append(Conflict(request.owner, request.relay, against))
            continue
        had[relay.id] = (request.owner, relay)
        taken |= dict.fromkeys(things, request)
        for id_ in [id_ for id_, own in ours.items() if own & things]:
            out.append(Conflict(spec.owner, id_, _taken(ours.pop(id_), taken)))
    relays = (*(relay for relay in spec.relays if relay.id in ours), *(relay for _, relay in had.values()))
    owners = dict.fromkeys(ours, spec.owner) if spec.owner != FILE else {}
    return MergedRelays(
        replace(spec, relays=relays),
        MappingProxyType({**owners, **{id_: owner for id_, (owner, _) in had.items()}}),
        tuple(out),
        frozenset(thing for things in ours.values() for thing in things),
    )


def claims(vhost_user: VhostUserSpec, relay: RelaySpec) -> frozenset[str]:
    """What belongs to one relay only, by name: its id, VFs and what lies below them, bond and socket."""
    bond = [f"bond {relay.bond.name}"] if relay.bond is not None else []
    named = [f"VF {port.name}" for port in relay.ports]
    lower = [thing for port in relay.ports for thing in below(port)]
    return frozenset([f"id {relay.id}", f"socket {socket_path(vhost_user, relay)}", *named, *lower, *bond])


def _in_the_way(
    request: RelayRequest,
    things: frozenset[str],
    ours: Mapping[int, frozenset[str]],
    claimed_since: Mapping[str, float],
    owner: str,
) -> str:
    for id_, own in sorted(ours.items()):
        for thing in sorted(own & things):
            if claimed_since.get(thing, float("inf")) <= request.since:
                return f"{thing} belongs to relay {id_} of {_the(owner)}, which had it first; take another"
    return ""


def _the(owner: str) -> str:
    """An owner in a sentence: the file is no name."""
    return f"the {owner}" if owner == FILE else owner


def _taken(things: Iterable[str], taken: Mapping[str, RelayRequest]) -> str:
    for thing in sorted(things):
        if thing in taken:
            request = taken[thing]
            return f"{thing} belongs to relay {request.relay} of {request.owner}, which had it first; take another"
    return ""


def _asked(request: RelayRequest, spec: Spec) -> RelaySpec:
    """The request as a relay of this spec. Raises SpecError with what no spec could have."""
    keys = {"main_cpu", "worker_cpus", "idle"}
    engine = {key: value for key, value in asdict(spec.engine).items() if key in keys}
    vhost_user = {"directory": spec.vhost_user.directory, "name": spec.vhost_user.name}
    relay = {"id": request.relay, **request.wanted}
    around = {"apiVersion": "vio4wd/v1", "engine": engine, "vhost_user": vhost_user, "relays": [relay]}
    return _parsed(json.dumps(around, ensure_ascii=False), request.owner, in_force())


@functools.lru_cache(maxsize=256)
def _parsed(text: str, owner: str, policy: Policy) -> RelaySpec:
    return schema.parse(text, owner, lambda path: path[0] != "relays", policy).relays[0]


def unfit(owner: str, relay: int, wanted: Mapping[str, Any], spec: Spec) -> str:
    """Why no spec could have what somebody is about to ask for, as a sentence; empty: one could."""
    try:
        _asked(RelayRequest(owner, relay, dict(wanted), 0.0), spec)
    except SpecError as error:
        return "; ".join(problem.message for problem in error.problems)
    return ""
