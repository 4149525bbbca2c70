"""The file and its sources, and which spec of them is in force: the last that was valid and that this host can have."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from reconciler.desired.desired_state import DesiredState, SourceStatus, known_requests, wanted
from reconciler.desired.from_spec import lacking
from reconciler.desired.local import Local
from reconciler.desired.resolve import SourceReading, Unread, reasons, remember, resolve
from reconciler.host.host import Host
from reconciler.host.refusal import SpecUnfit
from reconciler.sources.files import FILE, found_by, host_names, outdated
from reconciler.sources.pollers import Sources
from schema import SpecError, Tree, compose
from schema.loading.compose import head
from schema.rules.host_policy import in_force
from schema.spec import FILE as FILE_OWNER
from schema.spec import SourceSpec
from schema.system.threads import Bounded, Unanswered
from state.last_good import keep_names, keep_spec, kept_names, kept_readings, last_good
from state.store import Store


class SpecFile:
    """Reads the file again and again. `accepted` changes only to another good spec: never because of a file that is
    invalid, empty, truncated, unreadable or gone. Nor because of a source: what that said last stays. What other owners
    request is in force beside it all the while."""

    def __init__(
        self, local: Local, host: Host, store: Store, sources: Sources, news: Callable[[], None] = lambda: None
    ) -> None:
        """`news` is called, on another thread, when a file that had not answered has."""
        self.path = Path(os.path.abspath(local.path))
        self._local = replace(local, path=self.path)
        self._reading = Bounded(str(self.path), news)
        self.unanswered = ""
        """That the file can't be read just now, and what it said stays, as a sentence."""
        self.accepted: DesiredState | None = None
        self.shown: InForce | None = None
        """What is said of it."""
        self.lacking: tuple[str, ...] = ()
        """What it names and this host has not yet, as sentences."""
        self.refused: RefusedSpec | None = None
        self._host = host
        self._store = store
        self._sources = sources
        self._named: tuple[Tree, tuple[SourceSpec, ...]] | None = None
        """What the file said last, and the sources that it names."""
        self._seen: object = None
        self._names = sources.hosts = kept_names(store)
        """Of this host, by which its own files were found."""

    def read(self, disturbed: Callable[[], bool] = lambda: False) -> bool:
        """Reads everything; whether something else is wanted than before. What was `disturbed` meanwhile may be half of
        two contents, and is not believed."""
        try:
            local = self._answer()
            if disturbed():
                return self.go_on()
            facts = (local, self._offers(local), known_requests(self._store), in_force(), local.host)
            if facts == self._seen and not self.lacking:
                return False
            self._seen = facts
            found = resolve(local, facts[1], lambda spec: wanted(spec, facts[2], self._host))
            return self._accept(local, found)
        except (SpecError, SpecUnfit, Unread) as error:
            if not isinstance(error, SpecUnfit) or error.is_retryable:
                self._seen = None  # a user or a CPU may appear without the file changing
            self._refuse(reasons(self._local.in_its_words(error) if isinstance(error, SpecUnfit) else error))
        except Unanswered as error:
            self.unanswered = f"{error} What is in force stays"
        except OSError:
            self._seen = None  # the host could not answer: the same content is judged again
            raise
        return self.go_on() if self.accepted is not None else self._fall_back()

    def _answer(self) -> Tree:
        """Raises Unanswered, SpecError."""
        hosts = host_names(self._host.name(), self._names.get(FILE, ""))
        local = self._reading.do(lambda: self._local.read(hosts))
        self.unanswered = ""
        return local

    def close(self) -> None:
        self._reading.close()

    @property
    def outdated(self) -> tuple[str, ...]:
        """Which files count under a name that this host has no longer, as sentences."""
        return outdated(self._host.name(), self._names)

    def go_on(self) -> bool:
        """With the spec in force, and what other owners want by now; whether that is another state than before."""
        before, shown = self.accepted, self.shown
        if before is None or shown is None:
            return False
        try:
            found = wanted(before.spec, known_requests(self._store), self._host)
        except SpecUnfit:
            return False
        self._take(replace(found, sources=before.sources, readings=before.readings), shown.since, shown.origin)
        return before.target != found.target

    def _offers(self, local: Tree) -> tuple[SourceReading, ...]:
        """Raises SpecError."""
        if self._named is None or self._named[0] != local:
            self._named = local, head(local).sources
        before = kept_readings(self._store)
        self._sources.in_force = {name: known.revision for name, known in before.items()}
        attempts = self._sources.read(self._named[1])
        return tuple(SourceReading(name, attempt, before.get(name)) for name, attempt in attempts.items())

    def _accept(self, local: Tree, found: DesiredState) -> bool:
        self.refused, before = None, self.accepted
        since = keep_spec(self._store, str(self.path), found.spec.sha256, found.spec.text).since
        remember(self._store, found)
        trees = {FILE: local, **{name: each.tree for name, each in found.readings.items()}}
        self._names = self._sources.hosts = found_by(self._names, trees)
        keep_names(self._store, self._names)
        self._sources.in_force = found.revisions
        self._take(found, since, "file")
        return before is None or (before.spec.sha256, before.target) != (found.spec.sha256, found.target)

    def _refuse(self, problems: tuple[str, ...]) -> None:
        if self.refused is None or self.refused.problems != problems:
            self.refused = RefusedSpec(time.time(), problems)

    def _fall_back(self) -> bool:
        """At the start: what was in force before the last end of this process."""
        known = last_good(self._store, str(self.path))
        if known is None:
            return False
        try:
            spec = compose([self._local.once(known.text)])
            found = wanted(spec, known_requests(self._store), self._host)
        except (SpecError, SpecUnfit):
            return False
        sources = tuple(SourceStatus(n, k.revision, k.revision, "") for n, k in kept_readings(self._store).items())
        self._take(replace(found, sources=sources), known.since, "last-good")
        return True

    def _take(self, found: DesiredState, since: float, origin: str) -> None:
        self.accepted, self.lacking = found, lacking(found.spec, self._host)
        relays = {
            r.id: RelayInForce(r.port, r.socket, found.owners.get(r.id, FILE_OWNER))
            for r in found.target.relays.values()
        }
        left_out = tuple(map(str, found.left_out))
        self.shown = InForce(str(self.path), found.spec.sha256, since, origin, relays, found.sources, left_out)


@dataclass(frozen=True, slots=True)
class RelayInForce:
    """What a relay is to have, and who wants it."""

    port: str
    socket: str
    owner: str = FILE_OWNER


@dataclass(frozen=True, slots=True)
class InForce:
    """The spec that is being kept up."""

    file: str
    sha256: str
    since: float
    """Seconds since 1970."""
    origin: str
    """`file`, or `last-good`: what the file said before, because it says nothing valid now."""
    relays: Mapping[int, RelayInForce] = field(default_factory=dict)
    """By relay id."""
    sources: tuple[SourceStatus, ...] = ()
    left_out: tuple[str, ...] = ()
    """Relays that are wanted, but not had because somebody else has what they need, as sentences."""


@dataclass(frozen=True, slots=True)
class RefusedSpec:
    """Why what the file says now is not in force."""

    since: float
    problems: tuple[str, ...]
