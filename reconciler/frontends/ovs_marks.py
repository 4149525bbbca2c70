"""Which relays the interfaces of Open vSwitch ask for: a mark in their external_ids, and what follows from all of them.
Pure; ovsdb.py reads the database, and does what comes out here.

The marks are virtio-forwarder's: its keys, and an integer as C's strtol reads one with base 0. That the key is there
with some integer is what counts, 0 and negative ones included; which relay it is comes from the network device.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from reconciler.host.netdev import NetdevVf, NotAVf, quoted

KEYS = ("virtio_forwarder", "virtio_relay")
STRTOL = re.compile(r"\s*([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)", re.ASCII)
LONG = range(-(2**63), 2**63)
Known = Callable[[str], NetdevVf | None]


@dataclass(frozen=True, slots=True)
class Marked:
    """What the database says."""

    netdevs: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    """Marks that are none, each with a sentence."""


@dataclass(frozen=True, slots=True)
class Change:
    """What has to be different, and what can't be relayed."""

    put: Mapping[int, NetdevVf]
    """Relays that are wanted now, or with another VF."""
    take: frozenset[int]
    """Relays that are wanted no more."""
    faults: tuple[str, ...]


def read_marks(interfaces: Iterable[tuple[str, Mapping[str, str]]]) -> Marked:
    """The interfaces that are marked; each comes with its name and external_ids."""
    netdevs, faults = set(), []
    for name, external_ids in interfaces:
        for key in KEYS:
            value = external_ids.get(key)
            if value is not None and _integer(value) is None:
                words = f"{key}={quoted(value)} is no integer and counts as no mark; write {key}=1, or remove it"
                faults.append(f"interface {quoted(name)}: {words}")
            elif value is not None:
                netdevs.add(name)
    return Marked(tuple(sorted(netdevs)), tuple(sorted(faults)))


def decide(netdevs: Collection[str], find: Callable[[str], NetdevVf], known: Known, had: Mapping[int, str]) -> Change:
    """What the marked `netdevs` come to. `find` raises NotAVf; `known` gives what a network device stood for before,
    which keeps a relay that is there; `had`: relay to VF, as wanted until now, which stays where two give one relay."""
    faults: list[str] = []
    claims: dict[int, list[NetdevVf]] = {}
    for netdev in sorted(netdevs):
        try:
            claim = find(netdev)
        except NotAVf as reason:
            faults.append(f"interface {quoted(netdev)}: {reason}")
            before = known(netdev)
            if before is None or had.get(before.index) != before.vf:
                continue
            claim = before
        claims.setdefault(claim.index, []).append(claim)
    wanted = {index: _first(same, had.get(index)) for index, same in claims.items()}
    for index, same in sorted(claims.items()):
        faults += [_conflict(claim, wanted[index]) for claim in same if claim.vf != wanted[index].vf]
    put = {index: claim for index, claim in wanted.items() if had.get(index) != claim.vf}
    return Change(put, frozenset(had.keys() - wanted.keys()), tuple(faults))


def _first(claims: list[NetdevVf], had: str | None) -> NetdevVf:
    return next((claim for claim in claims if claim.vf == had), claims[0])


def _conflict(claim: NetdevVf, first: NetdevVf) -> str:
    words = f"{claim.netdev} ({claim.vf}) and {first.netdev} ({first.vf}) both give relay {claim.index}"
    return f"{words}, which stays with {first.netdev}; remove the mark of one of them"


def _integer(text: str) -> int | None:
    """As strtol reads it: what follows the number does not matter. None where there is none, or it has no room."""
    found = STRTOL.match(text)
    if found is None:
        return None
    sign, digits = found.groups()
    base = 16 if digits[:2] in ("0x", "0X") else 8 if digits.startswith("0") else 10
    number = -int(digits, base) if sign == "-" else int(digits, base)
    return number if number in LONG else None
