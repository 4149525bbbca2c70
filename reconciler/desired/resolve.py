"""One spec from the file and its sources. A source that can't be read, or says what can't be, stays as it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from reconciler.desired.desired_state import DesiredState, SourceStatus, known_requests, wanted
from reconciler.desired.from_spec import lacking
from reconciler.desired.local import Local
from reconciler.host.host import Host
from reconciler.host.refusal import SpecUnfit
from reconciler.sources.files import FILE, found_by, host_names, outdated
from reconciler.sources.pollers import source_of
from reconciler.sources.source import Attempt, Reading, attempt
from schema import Spec, SpecError, Tree, compose
from schema.loading.compose import head
from state.last_good import CachedReading, keep_readings, kept_names, kept_readings
from state.relay_requests import claim
from state.store import Store

Judge = Callable[[Spec], DesiredState]
"""Raises SpecUnfit."""


@dataclass(frozen=True, slots=True)
class SourceReading:
    """What a source says, and what it said when it was last in force."""

    name: str
    attempt: Attempt | None
    """None: it was not tried yet."""
    kept: CachedReading | None

    @property
    def new(self) -> Reading | None:
        """What is to be used if it can be."""
        return (self.attempt.reading if self.attempt is not None else None) or self.old

    @property
    def old(self) -> Reading | None:
        return Reading(self.kept.tree, self.kept.revision) if self.kept is not None else None


class Unread(Exception):  # noqa: N818 - a state of things
    """A source has said nothing yet, so that nobody knows what is wanted."""


def reasons(error: SpecError | SpecUnfit | Unread) -> tuple[str, ...]:
    """Why nothing could be made of it, as sentences."""
    return tuple(str(error).splitlines())


def read_now(place: Local, host: Host, store: Store, notice: Callable[[str], None]) -> DesiredState:
    """What is wanted now, for a command that waits for it; changes nothing of what is remembered. Raises as `resolve`.

    Of a source that can't be read, what was in force last is taken, and `notice` is told."""
    names = kept_names(store)
    local = place.read(host_names(host.name(), names.get(FILE, "")))
    before, known = kept_readings(store), known_requests(store)
    if store.fault:
        notice(store.fault)
    offers = []
    for spec in head(local).sources:
        last = before.get(spec.name)
        source = source_of(spec, partial(host_names, host.name(), names.get(spec.name, "")), store.path.parent)
        tried = attempt(source, last.revision if last is not None else "")
        source.stop()
        offers.append(SourceReading(spec.name, tried, last))
    try:
        found = resolve(local, offers, lambda spec: wanted(spec, known, host))
    except SpecUnfit as unfit:
        raise place.in_its_words(unfit) from None
    for status in found.sources:
        if status.problem:
            notice(f"{status.name} stays as it was: {status.problem}")
    own = found_by(names, {FILE: local, **{name: each.tree for name, each in found.readings.items()}})
    for each in (*outdated(host.name(), own), *found.left_out, *lacking(found.spec, host)):
        notice(str(each))
    return found


def remember(store: Store, found: DesiredState) -> None:
    """That this is in force."""
    keep_readings(store, {name: (each.revision, each.tree) for name, each in found.readings.items()})
    claim(store, found.claimed)


def resolve(local: Tree, offers: Sequence[SourceReading], judge: Judge) -> DesiredState:
    """Raises SpecError or SpecUnfit when nothing can be made of it, Unread when a source has said nothing yet."""
    new = {offer.name: _reading(offer) for offer in offers}
    try:
        return _resolved(local, offers, new, {}, judge)
    except (SpecError, SpecUnfit):
        if all(offer.old in (None, offer.new) for offer in offers):
            raise
    return _one_by_one(local, offers, judge)


def _one_by_one(local: Tree, offers: Sequence[SourceReading], judge: Judge) -> DesiredState:
    """Each source's news is used if all is well with it."""
    using = {offer.name: offer.old or _reading(offer) for offer in offers}
    faults: dict[str, str] = {}
    found = _resolved(local, offers, using, faults, judge)
    for offer in offers:
        news = _reading(offer)
        if news == using[offer.name]:
            continue
        try:
            found = _resolved(local, offers, {**using, offer.name: news}, faults, judge)
            using[offer.name] = news
        except (SpecError, SpecUnfit) as error:
            faults[offer.name] = str(error)
    return _resolved(local, offers, using, faults, judge) if faults else found


def _reading(offer: SourceReading) -> Reading:
    if offer.new is not None:
        return offer.new
    if offer.attempt is None:
        raise Unread(f"{offer.name} has not been read yet")
    raise Unread(f"{offer.name}: {offer.attempt.problem}")


def _resolved(
    local: Tree, offers: Sequence[SourceReading], using: Mapping[str, Reading], faults: Mapping[str, str], judge: Judge
) -> DesiredState:
    spec = compose([local, *(using[offer.name].tree for offer in offers)])
    statuses = tuple(_status(offer, using[offer.name], faults.get(offer.name, "")) for offer in offers)
    return replace(judge(spec), sources=statuses, readings=using)


def _status(offer: SourceReading, reading: Reading, fault: str) -> SourceStatus:
    attempt = offer.attempt or Attempt(revision=reading.revision)
    return SourceStatus(offer.name, attempt.revision or reading.revision, reading.revision, attempt.problem or fault)
