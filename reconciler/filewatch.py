"""Tells that a file may have changed, however it is saved: written in place, renamed over, or behind a symlink that is
swapped, as Kubernetes does for ConfigMaps. What it tells is only a hint to read the file again."""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from inotify_simple import INotify, flags

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
MAX_SYMLINKS = 40
"""As the kernel has it."""


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
        elif here.is_symlink():
            names.setdefault(current, set()).add(name)
            target = Path(os.readlink(here))
            ahead.extendleft(reversed(target.parts[1:] if target.is_absolute() else target.parts))
            current = Path("/") if target.is_absolute() else current
            hops += 1
        elif not ahead or not here.is_dir():
            names.setdefault(current, set()).add(name)
            break
        else:
            current = here
    return names


@dataclass(frozen=True, slots=True)
class Touch:
    """Something happened; `writing`: last of all somebody wrote, and has not closed the file yet."""

    writing: bool


class FileWatch:
    """inotify on the way to one file. Raises OSError when the host has no inotify instances left."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inotify = INotify(nonblocking=True)
        self._watched: dict[int, tuple[Path, set[str]]] = {}

    def fileno(self) -> int:
        return int(self._inotify.fileno())

    def arm(self) -> None:
        """Watches the way as it is now. To be called before each reading of the file, so that no change falls between
        the two."""
        armed: dict[int, tuple[Path, set[str]]] = {}
        for directory, names in watched_names(self._path).items():
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
        for event in self._inotify.read(timeout=0):
            directory, names = self._watched.get(event.wd, (None, set()))
            if event.mask & ABOUT_THE_WATCH and (directory is not None or event.mask & flags.Q_OVERFLOW):
                touch = Touch(writing=False)
            elif directory is not None and event.name in names:
                touch = Touch(writing=_still_open(event.mask, directory / event.name))
        return touch

    def close(self) -> None:
        self._inotify.close()


def _still_open(mask: int, path: Path) -> bool:
    """Whether the event is one that closing the file will follow. Links are made without ever being open."""
    if mask & flags.CREATE:
        return path.is_file() and not path.is_symlink()
    return bool(mask & flags.MODIFY)
