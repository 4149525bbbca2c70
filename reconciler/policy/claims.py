"""Who has which relay, when several owners may ask for it: the file, and owners whose requests are remembered.

Each relay, VF and socket has one owner. Where two claim the same, the one who came later is left out and told so; it is
never settled by who came last.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from schema import Spec, SpecError, requested_relay
from schema.rules.claims import Claim, of_spec, rivals
from schema.spec import FILE, RelaySpec
from schema.vf import parse_vf
from state.relay_requests import RelayRequest

Claims = frozenset[Claim]


@dataclass(frozen=True, slots=True)
class Conflict:
    """A relay that is asked for and left out."""

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
    claimed: Claims
    """By the file, as `state.relay_requests.claim` remembers it."""


def merge_requests(spec: Spec, requests: Sequence[RelayRequest], claimed_since: Mapping[Claim, float]) -> MergedRelays:
    """`requests` in the order in which they came; `claimed_since`: since when the file claims what, in seconds since
    1970. What it did not claim before, it claims now, after everybody else."""
    ours = {relay.id: of_spec(spec.vhost_user, relay) for relay in spec.relays}
    theirs: dict[tuple[int, str], Claims] = {}
    granted: dict[int, tuple[str, RelaySpec]] = {}
    out: list[Conflict] = []
    for request in requests:
        try:
            relay = requested_relay(request.relay, request.wanted, request.owner, spec)
        except SpecError as error:
            out.append(Conflict(request.owner, request.relay, _sentence(error)))
            continue
        mine = of_spec(spec.vhost_user, relay)
        if against := _files(mine, ours, claimed_since, request.since, spec.owner) or _others(mine, theirs):
            out.append(Conflict(request.owner, request.relay, against))
            continue
        granted[relay.id] = (request.owner, relay)
        theirs[relay.id, request.owner] = mine
        for id_ in dict.fromkeys(id_ for id_, _ in rivals(mine, dict(ours))):
            out.append(Conflict(spec.owner, id_, _others(ours.pop(id_), theirs)))
    relays = (*(relay for relay in spec.relays if relay.id in ours), *(relay for _, relay in granted.values()))
    owners = dict.fromkeys(ours, spec.owner) if spec.owner != FILE else {}
    return MergedRelays(
        replace(spec, relays=relays),
        MappingProxyType({**owners, **{id_: owner for id_, (owner, _) in granted.items()}}),
        tuple(out),
        frozenset().union(*ours.values()),
    )


def _files(
    mine: Claims, ours: Mapping[int, Claims], claimed_since: Mapping[Claim, float], since: float, owner: str
) -> str:
    """What of it the file claimed first, as a sentence; empty: nothing."""
    for id_, claim in rivals(mine, dict(sorted(ours.items()))):
        if claimed_since.get(claim, float("inf")) <= since:
            return _taken(claim, id_, f"the {owner}" if owner == FILE else owner)
    return ""


def _others(mine: Claims, theirs: Mapping[tuple[int, str], Claims]) -> str:
    """What of it has been granted to somebody, as `_files`."""
    first = min(((claim, holder) for holder, claim in rivals(mine, theirs)), default=None)
    return _taken(first[0], *first[1]) if first is not None else ""


def _taken(claim: Claim, relay: int, owner: str) -> str:
    return f"{claim} belongs to relay {relay} of {owner}, which had it first; take another"


def _sentence(error: SpecError) -> str:
    return "; ".join(problem.message for problem in error.problems)


def unfit(owner: str, relay: int, wanted: Mapping[str, Any], spec: Spec) -> str:
    """Why no spec could have what somebody is about to ask for, as a sentence; empty: one could."""
    try:
        requested_relay(relay, wanted, owner, spec)
    except SpecError as error:
        return _sentence(error)
    return ""


def device_name(wanted: Mapping[str, Any]) -> str:
    """The name of the port that a request makes, whether any spec could have it or not."""
    bond = wanted.get("bond")
    return str(bond["name"]) if bond else vf_name(wanted.get("vf"))


def vf_name(text: object) -> str:
    """In quotes, where it is no VF."""
    try:
        return parse_vf(str(text)).name
    except ValueError:
        return json.dumps(text)
