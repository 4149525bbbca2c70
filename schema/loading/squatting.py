"""Directories of sockets in which others may make files: what they make there first is in the way of a socket, and what
QEMU finds there in a socket's place is theirs."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path as FilePath

from schema.nodes import Document, Path, Problem
from schema.spec import NO_PORT_CONTROL, Spec

BETTER = "/run/vio4wd/guests"


def open_directories(spec: Spec, document: Document) -> tuple[Problem, ...]:
    """A warning for each directory of sockets, as this host has it now. `document` is what the spec was made of."""
    trusted = {0, os.geteuid(), _uid(spec.vhost_user.owner)}
    found: dict[str, Problem] = {}
    for folder, path in _folders(spec):
        why = _open_to(FilePath(folder), trusted) if folder not in found else ""
        if why:
            what = "others can be in the way of a guest's socket there, or in its place"
            found[folder] = document.problem(path, f"{why}: {what}; take a directory of its own, such as {BETTER}")
    return tuple(sorted(found.values()))


def _uid(name: str | None) -> int:
    try:
        return pwd.getpwnam(name).pw_uid if name is not None else os.geteuid()
    except KeyError:
        return 0


def _folders(spec: Spec) -> Iterator[tuple[str, Path]]:
    own = [(index, relay.socket) for index, relay in enumerate(spec.relays) if relay.socket is not None]
    yield from ((os.path.dirname(socket), ("relays", index, "socket")) for index, socket in own)
    if len(own) < len(spec.relays) or spec.vhost_user.template_sockets or spec.port_control != NO_PORT_CONTROL:
        yield spec.vhost_user.directory, ("vhost_user", "directory")


def _open_to(folder: FilePath, trusted: set[int]) -> str:
    """How others than these users may make files there, or put another directory in its place; empty: they can't."""
    there = [(each, found) for each in (folder, *folder.parents) if (found := _stat(each)) is not None]
    for index, (each, found) in enumerate(there):
        # In one that is sticky, as /tmp is, nobody can replace what another has made; but make what is not there yet.
        if found.st_mode & stat.S_IWOTH and (index == 0 or not found.st_mode & stat.S_ISVTX):
            return f"everybody may make files in {each}"
        if found.st_uid not in trusted:
            return f"{each} belongs to user {found.st_uid}"
    return ""


def _stat(folder: FilePath) -> os.stat_result | None:
    try:
        return os.stat(folder)
    except OSError:
        return None
