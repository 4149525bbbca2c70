"""A file, or a directory of files, on this host."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from schema import SpecError, Text, Tree
from schema.loader import read_file, refused

HOSTS = "hosts"


def is_spec_name(name: str) -> bool:
    """Whether a file of this name is read where a directory is."""
    return name.endswith(".yaml") and not name.startswith(".")


def chosen(names: Iterable[str], hostname: str) -> tuple[list[str], str | None]:
    """Which of a directory's files are read, in order, and which is laid over them: the host's own. Names are relative
    to the directory."""
    there = set(names)
    own = f"{HOSTS}/{hostname}.yaml"
    return sorted(n for n in there if is_spec_name(n) and "/" not in n), own if own in there else None


def nothing_for(where: str, hostname: str) -> SpecError:
    return refused(
        where,
        f"there is no *.yaml here, and no {HOSTS}/{hostname}.yaml for this host; to relay nothing, add a file with "
        "apiVersion and relays: []",
    )


def spec_files(directory: Path) -> list[str]:
    """The files of a directory that some host reads, relative to it."""
    try:
        top = [path.name for path in directory.iterdir()]
        hosts = [f"{HOSTS}/{path.name}" for path in directory.joinpath(HOSTS).iterdir()] if HOSTS in top else []
    except OSError:
        return []  # gone, or not a directory: who reads it says so
    return sorted(name for name in [*top, *hosts] if is_spec_name(name.rpartition("/")[2]))


def read_path(path: Path, hostname: str) -> Tree:
    """A file, or the files of a directory that are this host's. Raises SpecError."""
    if not os.path.isdir(path):  # pathlib's raises where a server has gone; _text has words for it
        return Tree((_text(path),))
    base, own = chosen(spec_files(path), hostname)
    if not base and own is None:
        raise nothing_for(str(path), hostname)
    texts = tuple(_text(path / name) for name in base)
    return Tree(texts, _text(path / own) if own is not None else None)


def _text(path: Path) -> Text:
    return Text(str(path), read_file(path))
