"""Which files of a directory are a host's, and what is refused of them wherever they come from."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from schema import SpecError, Text, Tree
from schema.loading.loader import MAX_FILE_BYTES, read_file, refused
from schema.nodes import shown

HOSTS = "hosts"
FILE = "file"
"""The place that is no source."""
ENDINGS = (".yaml", ".yml")
MAX_FILES = 256
"""Of one directory that are read together."""
POINTER = b"version https://git-lfs.github.com/spec/"
"""How a file begins that Git LFS keeps elsewhere."""


def is_spec_name(name: str) -> bool:
    """Whether a file of this name is read where a directory is."""
    return name.endswith(ENDINGS) and not name.startswith(".")


@dataclass(frozen=True, slots=True)
class Choice:
    """Names relative to the directory."""

    base: tuple[str, ...]
    """In the order in which they are read."""
    own: str | None
    """The host's own, which is laid over the others."""
    host: str = ""
    """By what name it is the host's."""

    @property
    def all(self) -> tuple[str, ...]:
        return (*self.base, *((self.own,) if self.own is not None else ()))


def host_names(hostname: str, before: str = "") -> tuple[str, ...]:
    """The names by which a host's own file is looked for, the first that there is counts: its name, what stands before
    the first dot of that, and the name by which it was found `before`."""
    return tuple(dict.fromkeys(name for name in (hostname, hostname.partition(".")[0], before) if name))


def found_by(before: Mapping[str, str], trees: Mapping[str, Tree]) -> dict[str, str]:
    """The names by which the own files of all places were found. Of what was kept from another time that is not known,
    and stays as it was `before`."""
    names = {place: tree.host or before.get(place, "") for place, tree in trees.items() if tree.over is not None}
    return {place: name for place, name in names.items() if name}


def outdated(hostname: str, names: Mapping[str, str]) -> tuple[str, ...]:
    """Where a file counts that is not that of the name which the host has now, as sentences."""
    now = host_names(hostname)
    return tuple(
        f"this host's name is {shown(hostname)} now, for which {'the directory' if place == FILE else place} has no "
        f"{HOSTS}/{shown(hostname)}.yaml: its {HOSTS}/{shown(name)}.yaml goes on counting until it has one"
        for place, name in sorted(names.items())
        if name not in now
    )


def chosen(names: Iterable[str], hosts: Sequence[str], where: str) -> Choice:
    """Which of a directory's files are read on a host of these names. Raises SpecError where two of them differ in
    their ending alone, or there are too many."""
    there = set(names)
    host = next((host for host in hosts if _own(there, host)), "")
    own = _own(there, host)
    base = sorted(name for name in there if is_spec_name(name) and "/" not in name)
    if len(base) > MAX_FILES:
        raise refused(where, f"there are {len(base):,} files here, and up to {MAX_FILES} are read; put some together")
    for names_here in (base, own):
        _refuse_twins(names_here, where)
    return Choice(tuple(base), own[0] if own else None, host)


def _own(there: set[str], host: str) -> list[str]:
    return [name for ending in ENDINGS if (name := f"{HOSTS}/{host}{ending}") in there]


def _refuse_twins(names: Iterable[str], where: str) -> None:
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(name.rpartition(".")[0], name)
        if other != name:
            raise refused(where, f"{shown(other)} and {shown(name)} are both there; keep one of them")


def nothing_for(where: str, hosts: Sequence[str]) -> SpecError:
    host = shown(hosts[0] if hosts else "")
    message = f"there is no *.yaml or *.yml here, and no {HOSTS}/{host}.yaml for this host"
    return refused(where, f"{message}; to relay nothing, add a file with apiVersion and relays: []")


def refuse_pointer(text: Text) -> None:
    """Raises SpecError for what Git LFS left in the place of a file."""
    if text.content.startswith(POINTER):
        message = "this is a pointer of Git LFS, not the file itself, which is not fetched; keep the file in Git"
        raise refused(text.name, message)


def spec_files(directory: Path) -> list[str]:
    """The files of a directory on this host that some host reads, relative to it."""
    try:
        top = [path.name for path in directory.iterdir()]
        hosts = [f"{HOSTS}/{path.name}" for path in directory.joinpath(HOSTS).iterdir()] if HOSTS in top else []
    except OSError:
        return []  # gone, or not a directory: who reads it says so
    return sorted(name for name in [*top, *hosts] if is_spec_name(name.rpartition("/")[2]))


def read_path(path: Path, hosts: Sequence[str]) -> Tree:
    """A file, or the files of a directory that are those of a host of these names. Raises SpecError."""
    if not os.path.isdir(path):  # pathlib's raises where a server has gone; _text has words for it
        return Tree((_text(path),))
    choice = chosen(spec_files(path), hosts, shown(str(path)))
    if not choice.all:
        raise nothing_for(shown(str(path)), hosts)
    texts, room = [], MAX_FILE_BYTES
    for name in choice.all:
        texts.append(_text(path / name))
        room -= len(texts[-1].content)
        if room < 0 and len(texts) > 1:  # one that is too large alone is refused by name, as everywhere
            message = f"its files are larger than {MAX_FILE_BYTES:,} bytes together; no spec needs that"
            raise refused(shown(str(path)), message)
    own = texts.pop() if choice.own is not None else None
    return Tree(tuple(texts), own, host=choice.host)


def _text(path: Path) -> Text:
    text = Text(shown(str(path)), read_file(path))
    refuse_pointer(text)
    return text
