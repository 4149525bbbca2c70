"""Tells that a file, or one of a directory of files, may have changed, however it is saved: written in place, renamed
over, or behind a symlink that is swapped, as Kubernetes does for ConfigMaps. What it tells is only a hint to read it
again."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from inotify_simple import INotify, flags

from reconciler.sources.files import HOSTS, is_spec_name, spec_files

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
class Touch:
    """Something happened; `writing`: last of all somebody wrote, and has not closed the file yet, or took one of
    several away, which he may be about to write anew."""

    writing: bool
    paths: frozenset[Path] = frozenset()
    """Where it happened, as far as that is known."""


class FileWatch:
    """inotify on the ways to files and directories of files. Raises OSError when the host has no inotify instances
    left."""

    def __init__(self) -> None:
        self._inotify = INotify(nonblocking=True)
        self._watched: dict[int, tuple[Path, set[str]]] = {}

    def fileno(self) -> int:
        return int(self._inotify.fileno())

    def arm(self, *paths: Path) -> None:
        """Watches the ways to these as they are now. To be called before each reading, so that no change falls between
        the two."""
        armed: dict[int, tuple[Path, set[str]]] = {}
        for directory, names in watched(paths).items():
            try:
                armed[self._inotify.add_watch(directory, MASK)] = (directory, names)
            except OSError:
                continue  # it went meanwhile, or may not be read: the slow poll is for that
        for gone in self._watched.keys() - armed.keys():
            try:
                self._inotify.rm_watch(gone)
            except OSError:
                continue  # the kernel removed it together with its directory
        self._watched = armed

    def touched(self) -> Touch | None:
        """What happened since the last call, without waiting; None: nothing that matters."""
        touch: Touch | None = None
        paths: set[Path] = set()
        for event in self._inotify.read(timeout=0):
            directory, names = self._watched.get(event.wd, (None, set()))
            if event.mask & ABOUT_THE_WATCH and (directory is not None or event.mask & flags.Q_OVERFLOW):
                touch = Touch(writing=False)
            elif directory is not None and (event.name in names or (ANY in names and is_spec_name(event.name))):
                one_of_several = ANY in names and bool(event.mask & GONE)
                touch = Touch(writing=one_of_several or _still_open(event.mask, directory / event.name))
                paths.add(directory / event.name)
        return replace(touch, paths=frozenset(paths)) if touch is not None else None

    def close(self) -> None:
        self._inotify.close()


def _still_open(mask: int, path: Path) -> bool:
    """Whether the event is one that closing the file will follow. Links are made without ever being open."""
    if mask & flags.CREATE:
        return os.path.isfile(path) and not os.path.islink(path)
    return bool(mask & flags.MODIFY)
