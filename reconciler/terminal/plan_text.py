"""A plan in lines that a person reads before it runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from types import MappingProxyType
from typing import TYPE_CHECKING

from reconciler.planning.describe import words
from reconciler.planning.planned_action import PlannedAction
from reconciler.terminal.output import say
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


def show(saved: SavedPlan, missing: Iterable[str] = ()) -> None:
    """Prints a plan, coloured by what is done. `missing` are sentences on engines that are needed and not there."""
    for line, verb in lines(saved, missing):
        say(line, {"add": "add", "remove": "remove"}.get(str(verb), "change") if verb is not None else None)


def lines(saved: SavedPlan, missing: Iterable[str] = ()) -> Iterator[Line]:
    """Each line of a plan. What only sets right what somebody changed stands apart, as does what comes after a new
    process. `missing` are sentences on engines that are needed and not there."""
    waits = [*(f"Waiting: {why}" for why in missing), *(f"Held back: {each}" for each in saved.held_back)]
    yield from ((line, None) for line in waits)
    if saved.planned_actions:
        yield from _changes(saved)
    elif waits or saved.problems:
        yield "Nothing else is to be done." if waits else "Nothing is to be done.", None
    else:
        yield f"Nothing to do: the {'engines match' if saved.several else 'engine matches'} {saved.file}.", None
    yield from _problems(saved)


def _changes(saved: SavedPlan) -> Iterator[Line]:
    several, everything = saved.several, (*saved.planned_actions, *saved.follows)
    used = [verb for verb in Verb if any(planned.action.verb is verb for planned in everything)]
    yield f"The {'engines are' if several else 'engine is'} to be changed as follows:", None
    yield from ((f"  {SYMBOLS[verb]:>3} {LEGEND[verb]}", verb) for verb in used)
    drifted = [planned for place, planned in enumerate(saved.planned_actions) if place in saved.drift]
    if drifted:
        yield from (("", None), ("Somebody changed what was applied. To set that right (drift):", None))
        yield from _actions(drifted, several)
    wanted = [planned for place, planned in enumerate(saved.planned_actions) if place not in saved.drift]
    if drifted and wanted:
        yield from (("", None), ("What the spec wants otherwise than before:", None))
    yield from _actions(wanted, several)
    if saved.follows:
        yield from (("", None), (f"After that, on the new {'processes' if several else 'process'}:", None))
        yield from _actions(saved.follows, several)
    yield "", None
    yield f"Plan: {saved.summary}", None


def _problems(saved: SavedPlan) -> Iterator[Line]:
    if saved.problems:
        yield from (("", None), ("As this host is now, this will not work:", None))
        yield from ((f"  {each}", Verb.REMOVE) for each in saved.problems)


def _actions(todo: Sequence[PlannedAction], several: bool) -> Iterator[Line]:
    """In their order, with a heading wherever another shard has its turn; one alone has none."""
    width = max((len(planned.action.resource) for planned in todo), default=0)
    for shard, planned_actions in groupby(todo, key=lambda planned: planned.shard):
        yield "", None
        if several:
            yield f"  Shard {shard}:", None
        for planned in planned_actions:
            yield from ((line, planned.action.verb) for line in _action(planned.action, planned.pin, width))
            if planned.held_back:
                yield f"        held back: {planned.held_back}", planned.action.verb


def _action(action: Action, pin: Pin | None, width: int) -> Iterator[str]:
    detail = words(action, pin)
    yield f"  {SYMBOLS[action.verb]:>3} {action.resource:<{width}}  {detail}".rstrip()
    yield f"        impact {action.impact}: {action.reason}"
