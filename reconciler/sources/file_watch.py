"""Tells that a file, or one of a directory of files, may have changed, however it is saved: written in place, renamed
over, or behind a symlink that is swapped, as Kubernetes does for ConfigMaps. What it tells is only a hint to read it
again."""

from __future__ import annotations

import errno
import os
import select
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from inotify_simple import Event, INotify, flags

from reconciler.sources.files import HOSTS, is_spec_name, spec_files
from schema.system.threads import Bounded, Unanswered

LIMITS = Path("/proc/sys/fs/inotify")
WORDS = {errno.EMFILE: ("instance", "max_user_instances"), errno.ENOSPC: ("watch", "max_user_watches")}

MASK = (
    flags.CREATE
    | flags.MODIFY
    | flags.CLOSE_WRITE
    | flags.ATTRIB
    | flags.MOVED_FROM
    | flags.MOVED_TO
    | flags.DELETE
    | flags.DELETE_SELF
    | flags.MOVE_SELF
    | flags.ONLYDIR
)
ABOUT_THE_WATCH = flags.DELETE_SELF | flags.MOVE_SELF | flags.Q_OVERFLOW | flags.IGNORED | flags.UNMOUNT
GONE = flags.MOVED_FROM | flags.DELETE
MAX_SYMLINKS = 40
"""As the kernel has it."""
ANY = "*.yaml"
"""Among watched names: every file that is read where a directory is."""


def watched_names(path: Path) -> dict[Path, set[str]]:
    """The directories in which a change can make `path` another file, each with the names that matter there: every
    symlink on the way, the file at its end, and the first part that is missing."""
    names: dict[Path, set[str]] = {}
    ahead = deque(Path(os.path.abspath(path)).parts[1:])
    current = Path("/")
    hops = 0
    while ahead and hops <= MAX_SYMLINKS:
        name = ahead.popleft()
        here = current / name
        if name == "..":
            current = current.parent
        elif (target := _target(here)) is not None:
            names.setdefault(current, set()).add(name)
            ahead.extendleft(reversed(target.parts[1:] if target.is_absolute() else target.parts))
            current = Path("/") if target.is_absolute() else current
            hops += 1
        elif not ahead or not os.path.isdir(here):  # pathlib's raises where a name is too long or a server has gone
            names.setdefault(current, set()).add(name)
            break
        else:
            current = here
    return names


def _target(path: Path) -> Path | None:
    """Where a symlink points; None for what is none, or can't be looked at."""
    try:
        return Path(os.readlink(path))
    except OSError:
        return None


def watched(paths: Iterable[Path]) -> dict[Path, set[str]]:
    """As `watched_names`, for several files and directories of files."""
    names: dict[Path, set[str]] = {}
    for path in paths:
        _add(names, watched_names(path))
        if os.path.isdir(path):
            _add(names, {Path(os.path.realpath(path)): {ANY, HOSTS}, Path(os.path.realpath(path / HOSTS)): {ANY}})
            for file in spec_files(path):
                _add(names, watched_names(path / file))
    return names


def _add(names: dict[Path, set[str]], more: dict[Path, set[str]]) -> None:
    for directory, found in more.items():
        names.setdefault(directory, set()).update(found)


@dataclass(frozen=True, slots=True)
class FileChange:
    """Something happened; `writing`: last of all somebody wrote, and has not closed the file yet, or took one of
    several away, which he may be about to write anew."""

    writing: bool
    paths: frozenset[Path] = frozenset()
    """Where it happened, as far as that is known."""


Armed = Mapping[int, tuple[Path, set[str]]]
"""By the number of the watch, as `watched` has it."""


class FileWatch:
    """inotify on the ways to files and directories of files. A way that hangs holds up no other, and nobody."""

    def __init__(self, news: Callable[[], None] = lambda: None) -> None:
        """`news` is called, on another thread, when a way that hung can be gone again."""
        self._news = news
        self._inotify = Inotify()
        self._ways: dict[Path, Bounded] = {}
        self._armed: dict[Path, Armed] = {}
        self._looking = Bounded("a new file", news)
        self._unanswered: tuple[str, ...] = ()

    def fileno(self) -> int:
        return self._inotify.fileno()

    @property
    def faults(self) -> tuple[str, ...]:
        """Why changes are noticed late, as sentences."""
        return tuple(f for f in (self._inotify.fault, *self._unanswered) if f)

    def arm(self, *paths: Path) -> None:
        """Watches the ways to these as they are now. To be called before each reading, so that no change falls between
        the two."""
        before = {number for armed in self._armed.values() for number in armed}
        self._inotify.forgive()
        for path in self._ways.keys() - set(paths):
            self._ways.pop(path).close()
            self._armed.pop(path, None)
        self._unanswered = tuple(sentence for path in paths if (sentence := self._arm(path)))
        for gone in before - {number for armed in self._armed.values() for number in armed}:
            self._inotify.remove(gone)

    def _arm(self, path: Path) -> str:
        """Why it can't be told, as a sentence; then it stays as it was."""
        way = self._ways.setdefault(path, Bounded(str(path), self._news))
        try:
            self._armed[path] = way.do(lambda: self._followed(path))
        except Unanswered as error:
            return str(error)
        return ""

    def _followed(self, path: Path) -> Armed:
        found = {self._inotify.add(directory, MASK): (directory, names) for directory, names in watched([path]).items()}
        return {number: way for number, way in found.items() if number is not None}

    @property
    def _watched(self) -> dict[int, tuple[Path, set[str]]]:
        every: dict[int, tuple[Path, set[str]]] = {}
        for armed in self._armed.values():
            for number, (directory, names) in armed.items():
                every[number] = (directory, names | every.get(number, (directory, set()))[1])
        return every

    def touched(self) -> FileChange | None:
        """What happened since the last call, without waiting; None: nothing that matters."""
        touch: FileChange | None = None
        paths: set[Path] = set()
        every = self._watched
        for event in self._inotify.read():
            directory, names = every.get(event.wd, (None, set()))
            if event.mask & ABOUT_THE_WATCH and (directory is not None or event.mask & flags.Q_OVERFLOW):
                touch = FileChange(writing=False)
            elif directory is not None and (event.name in names or (ANY in names and is_spec_name(event.name))):
                one_of_several = ANY in names and bool(event.mask & GONE)
                touch = FileChange(writing=one_of_several or self._still_open(event.mask, directory / event.name))
                paths.add(directory / event.name)
        return replace(touch, paths=frozenset(paths)) if touch is not None else None

    def _still_open(self, mask: int, path: Path) -> bool:
        """Whether the event is one that closing the file will follow. Links are made without ever being open."""
        if not mask & flags.CREATE:
            return bool(mask & flags.MODIFY)
        try:
            return self._looking.do(lambda: os.path.isfile(path) and not os.path.islink(path))
        except Unanswered:
            return True

    def close(self) -> None:
        for way in (*self._ways.values(), self._looking):
            way.close()
        self._inotify.close()


class Inotify:
    """One instance, had as soon as there is one. Its descriptor is the same all the while. Raises nothing."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._making = threading.Lock()
        self._instance: INotify | None = None
        self.fault = ""
        """What was refused since `forgive`, as a sentence."""

    def fileno(self) -> int:
        """Readable when there is something to `read`."""
        return self._epoll.fileno()

    def forgive(self) -> None:
        """What was refused is about to be tried again."""
        self.fault = ""

    def add(self, path: Path, mask: int) -> int | None:
        """The number of its watch; None when it can't be watched, or is not there. From any thread."""
        try:
            return int(self._had().add_watch(path, mask))
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.ENOMEM):
                self.fault = _sentence(error)
            return None  # else it went meanwhile, or may not be read

    def _had(self) -> INotify:
        """Raises OSError."""
        with self._making:
            if self._instance is None:
                self._instance = INotify(nonblocking=True)
                self._epoll.register(self._instance, select.EPOLLIN)
            return self._instance

    def remove(self, number: int) -> None:
        try:
            self._had().rm_watch(number)
        except OSError:
            return  # the kernel removed it together with its directory

    def read(self) -> list[Event]:
        """What has happened, without waiting."""
        if self._instance is None:
            return []
        try:
            return list(self._instance.read(timeout=0))
        except OSError:
            return []

    def close(self) -> None:
        if self._instance is not None:
            self._instance.close()
        self._epoll.close()


def _sentence(error: OSError) -> str:
    what, limit = WORDS.get(error.errno or 0, ("instance", ""))
    if not limit:
        return f"changes of files are noticed late, every 5 s: inotify does not work ({error.strerror})"
    try:
        now = f" (now {(LIMITS / limit).read_text().strip()})"
    except OSError:
        now = ""
    return (
        f"changes of files are noticed late, every 5 s: no inotify {what} is left for this user; "
        f"raise the sysctl fs.inotify.{limit}{now}"
    )
