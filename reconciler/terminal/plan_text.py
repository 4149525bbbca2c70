"""A plan in lines that a person reads before it runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from types import MappingProxyType
from typing import TYPE_CHECKING

from reconciler.planning.describe import words
from reconciler.planning.planned_action import Errand
from schema.model import Action, Pin, Verb

if TYPE_CHECKING:
    from reconciler.apply.saved_plan import SavedPlan

SYMBOLS: Mapping[Verb, str] = MappingProxyType(
    {Verb.ADD: "+", Verb.REMOVE: "-", Verb.UPDATE: "~", Verb.REPLACE: "-/+", Verb.MIGRATE: ">"}
)
LEGEND: Mapping[Verb, str] = MappingProxyType(
    {
        Verb.ADD: "add",
        Verb.REMOVE: "remove",
        Verb.UPDATE: "change in place",
        Verb.REPLACE: "take down and set up again",
        Verb.MIGRATE: "migrate to other CPUs, nothing is lost",
    }
)


Line = tuple[str, Verb | None]
"""Of a plan, with the verb that it is about (None: no particular one)."""


def lines(saved: SavedPlan, missing: Iterable[str] = ()) -> Iterator[Line]:
    """Each line of a plan. What only sets right what somebody changed stands apart, as does what comes after a new
    process. `missing` are sentences on engines that are needed and not there."""
    waits = [*(f"Waiting: {why}" for why in missing), *(f"Held back: {each}" for each in saved.held)]
    yield from ((line, None) for line in waits)
    if saved.errands:
        yield from _changes(saved)
    elif waits or saved.problems:
        yield "Nothing else is to be done." if waits else "Nothing is to be done.", None
    else:
        yield f"Nothing to do: the {'engines match' if saved.several else 'engine matches'} {saved.file}.", None
    yield from _problems(saved)


def _changes(saved: SavedPlan) -> Iterator[Line]:
    several, everything = saved.several, (*saved.errands, *saved.follows)
    used = [verb for verb in Verb if any(errand.action.verb is verb for errand in everything)]
    yield f"The {'engines are' if several else 'engine is'} to be changed as follows:", None
    yield from ((f"  {SYMBOLS[verb]:>3} {LEGEND[verb]}", verb) for verb in used)
    drifted = [errand for place, errand in enumerate(saved.errands) if place in saved.drift]
    if drifted:
        yield from (("", None), ("Somebody changed what was applied. To set that right (drift):", None))
        yield from _errands(drifted, several)
    wanted = [errand for place, errand in enumerate(saved.errands) if place not in saved.drift]
    if drifted and wanted:
        yield from (("", None), ("What the spec wants otherwise than before:", None))
    yield from _errands(wanted, several)
    if saved.follows:
        yield from (("", None), (f"After that, on the new {'processes' if several else 'process'}:", None))
        yield from _errands(saved.follows, several)
    yield "", None
    yield f"Plan: {saved.summary}", None


def _problems(saved: SavedPlan) -> Iterator[Line]:
    if saved.problems:
        yield from (("", None), ("As this host is now, this will not work:", None))
        yield from ((f"  {each}", Verb.REMOVE) for each in saved.problems)


def _errands(todo: Sequence[Errand], several: bool) -> Iterator[Line]:
    """In their order, with a heading wherever another shard has its turn; one alone has none."""
    width = max((len(errand.action.resource) for errand in todo), default=0)
    for shard, errands in groupby(todo, key=lambda errand: errand.shard):
        yield "", None
        if several:
            yield f"  Shard {shard}:", None
        for errand in errands:
            yield from ((line, errand.action.verb) for line in _action(errand.action, errand.pin, width))
            if errand.held:
                yield f"        held back: {errand.held}", errand.action.verb


def _action(action: Action, pin: Pin | None, width: int) -> Iterator[str]:
    detail = words(action, pin)
    yield f"  {SYMBOLS[action.verb]:>3} {action.resource:<{width}}  {detail}".rstrip()
    yield f"        impact {action.impact}: {action.reason}"
