"""The sources of one file, each read on a thread of its own: a slow network, a file system that hangs or a long text
must not hold up the loop."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from reconciler.sources.clones import forget_clones
from reconciler.sources.directory import DirectorySource
from reconciler.sources.files import host_names
from reconciler.sources.git import GitSource
from reconciler.sources.source import Attempt, Source, attempt
from schema.loading.compose import read_ahead
from schema.spec import DirectorySpec, GitSpec, SourceSpec
from schema.system.threads import Threads
from schema.wire.descriptors import Wakeup

FIRST_S = 2.0
"""So long the first reading of a directory is waited for, which takes a tenth of that where nothing hangs."""
ENDS_WITHIN_S = 5.0
"""What hangs longer is left behind."""


def source_of(spec: SourceSpec, hosts: Callable[[], Sequence[str]], state_dir: Path) -> Source:
    """The source that an entry of `sources` names; `hosts` gives the names of this host."""
    if isinstance(spec, DirectorySpec):
        return DirectorySource(spec, hosts)
    return GitSource(spec, hosts, state_dir)


class Poller:
    """Reads one source again and again, on a thread."""

    def __init__(self, source: Source, in_force: Callable[[], str], news: Callable[[], None], threads: Threads) -> None:
        """`in_force` gives the revision that is; `news` is called when the source says something new."""
        self._source = source
        self._in_force = in_force
        self._news = news
        self._latest: tuple[str, Attempt] | None = None
        """With the revision that was in force before."""
        self._due = threading.Event()
        self._answered = threading.Event()
        """It was tried at least once."""
        self._stopping = False
        self._threads = threads
        source.follow(self.poke)
        self._thread = threads.start(f"the reading of {source.name}", self._poll, news)

    def _poll(self) -> None:
        while True:
            self._due.clear()
            if self._stopping:  # looked at after the clearing: `tell` sets both, this one first
                return
            before = self._in_force()
            found = before, attempt(self._source, before)
            if found[1].reading is not None:
                read_ahead(found[1].reading.tree)
            if found != self._latest and not self._stopping:
                self._latest = found
                self._news()
            self._answered.set()
            self._due.wait(self._source.interval_s)

    @property
    def latest(self) -> Attempt | None:
        """None when there is none that can be used: the source is then asked again."""
        if self._latest is None:
            return None
        before, found = self._latest
        if found.reading is not None and self._in_force() not in (before, found.reading.revision):
            self.poke()  # whether it descends from what is in force now was not looked at
            return None
        return found

    def answered(self, timeout_s: float) -> None:
        """Waits until it was tried once, but not longer."""
        self._answered.wait(timeout_s)

    def poke(self) -> None:
        self._due.set()

    def tell(self) -> None:
        """That it is to end."""
        self._stopping = True
        self._threads.forget(self._thread)
        self._thread.stop()
        self._source.stop()
        self._due.set()

    def join(self, timeout_s: float) -> bool:
        return self._thread.join(timeout_s)


class Sources:
    """All that a file names now."""

    def __init__(self, hostname: Callable[[], str], state_dir: Path, threads: Threads) -> None:
        self.in_force: Mapping[str, str] = {}
        """Revisions, by the name of the source."""
        self.hosts: Mapping[str, str] = {}
        """By what name of this host its own file was found before, by the name of the source."""
        self._hostname = hostname
        self._hostname_before = hostname()
        self._state_dir = state_dir
        self._threads = threads
        self._news = Wakeup()
        self._pollers: dict[SourceSpec, Poller] = {}
        self._ending: list[Poller] = []

    def read(self, specs: Iterable[SourceSpec]) -> dict[str, Attempt | None]:
        """What came of the latest try of each, by name, without waiting for any; None: there was none yet."""
        wanted = list(specs)
        for spec in self._pollers.keys() - set(wanted):
            self._ending.append(self._pollers.pop(spec))
            self._ending[-1].tell()
        if (hostname := self._hostname()) != self._hostname_before:
            self._hostname_before = hostname
            self.poke()
        if new := [spec for spec in wanted if spec not in self._pollers]:
            self._begin(new, wanted)
        return {spec.name: self._pollers[spec].latest for spec in wanted}

    def _begin(self, new: Sequence[SourceSpec], wanted: Sequence[SourceSpec]) -> None:
        named = [spec for spec in wanted if isinstance(spec, GitSpec)]
        with contextlib.suppress(RuntimeError):  # there is no thread: another time, then
            threading.Thread(target=forget_clones, args=(self._state_dir, named), daemon=True).start()
        for spec in new:
            self._pollers[spec] = self._poller(spec)
        until = time.monotonic() + FIRST_S
        for spec in new:
            if isinstance(spec, DirectorySpec):
                self._pollers[spec].answered(max(0.0, until - time.monotonic()))

    def _poller(self, spec: SourceSpec) -> Poller:
        def hosts() -> Sequence[str]:
            return host_names(self._hostname(), self.hosts.get(spec.name, ""))

        source = source_of(spec, hosts, self._state_dir)
        in_force = lambda: self.in_force.get(spec.name, "")  # noqa: E731 - asked on the other thread
        return Poller(source, in_force, self._news.rouse, self._threads)

    def fileno(self) -> int:
        """Readable when one of them says something new."""
        return self._news.fileno()

    def heard(self) -> bool:
        """Whether one did since the last call."""
        return self._news.taken()

    def poke(self) -> None:
        """Has all of them read at once."""
        for poller in self._pollers.values():
            poller.poke()

    def close(self) -> None:
        for poller in self._pollers.values():
            poller.tell()
        until = time.monotonic() + ENDS_WITHIN_S
        ended = [poller.join(max(0.0, until - time.monotonic())) for poller in (*self._pollers.values(), *self._ending)]
        if all(ended):  # else one may yet write to it, and must not meet another that has its number
            self._news.close()
