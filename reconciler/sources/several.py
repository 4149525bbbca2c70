"""The sources of one file. Those that take their time are read on threads of their own: a slow network must not keep
the loop from steering."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from reconciler.sources.directory import DirectorySource
from reconciler.sources.git import GitSource
from reconciler.sources.shape import Attempt, Source, attempt
from reconciler.supervised_thread import Threads
from schema.spec import DirectorySpec, SourceSpec


def source_of(spec: SourceSpec, hostname: str, state_dir: Path) -> Source:
    """The source that an entry of `sources` names."""
    if isinstance(spec, DirectorySpec):
        return DirectorySource(spec, hostname)
    return GitSource(spec, hostname, state_dir)


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
        self._stopping = False
        self._threads = threads
        self._thread = threads.start(f"the reading of {source.name}", self._poll, news)

    def _poll(self) -> None:
        while True:
            self._due.clear()
            if self._stopping:  # looked at after the clearing: `tell` sets both, this one first
                return
            before = self._in_force()
            found = before, attempt(self._source, before)
            if found != self._latest and not self._stopping:
                self._latest = found
                self._news()
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

    def poke(self) -> None:
        self._due.set()

    def tell(self) -> None:
        """That it is to end."""
        self._stopping = True
        self._threads.forget(self._thread)
        self._thread.stop()
        self._source.stop()
        self._due.set()

    def join(self) -> None:
        self._thread.join()


class Sources:
    """All that a file names now."""

    def __init__(self, hostname: str, state_dir: Path, threads: Threads) -> None:
        self.in_force: Mapping[str, str] = {}
        """Revisions, by the name of the source."""
        self._hostname = hostname
        self._state_dir = state_dir
        self._threads = threads
        self._news = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._sources: dict[SourceSpec, Source] = {}
        self._pollers: dict[SourceSpec, Poller] = {}
        self._ending: list[Poller] = []

    def read(self, specs: Iterable[SourceSpec]) -> dict[str, Attempt | None]:
        """What came of the latest try of each, by name, without waiting for any; None: there was none yet."""
        wanted = list(specs)
        for spec in self._sources.keys() - set(wanted):
            del self._sources[spec]
            if spec in self._pollers:
                self._ending.append(self._pollers.pop(spec))
                self._ending[-1].tell()
        return {spec.name: self._latest(spec) for spec in wanted}

    def _latest(self, spec: SourceSpec) -> Attempt | None:
        if spec not in self._sources:
            self._sources[spec] = source_of(spec, self._hostname, self._state_dir)
        source = self._sources[spec]

        def in_force() -> str:
            return self.in_force.get(spec.name, "")

        if source.interval_s is None:
            return attempt(source, in_force())
        if spec not in self._pollers:
            self._pollers[spec] = Poller(source, in_force, lambda: os.eventfd_write(self._news, 1), self._threads)
        return self._pollers[spec].latest

    def fileno(self) -> int:
        """Readable when one of them says something new."""
        return self._news

    def heard(self) -> bool:
        """Whether one did since the last call."""
        try:
            return os.eventfd_read(self._news) > 0
        except BlockingIOError:
            return False

    def watched(self) -> list[Path]:
        return [path for source in self._sources.values() for path in source.watched()]

    def poke(self) -> None:
        """Has all of them read at once."""
        for poller in self._pollers.values():
            poller.poke()

    def close(self) -> None:
        for poller in self._pollers.values():
            poller.tell()
        for poller in (*self._pollers.values(), *self._ending):
            poller.join()
        os.close(self._news)
