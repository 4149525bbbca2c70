"""What each source said when it was last in force: it stays so while the source is away, or says nothing valid."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass

from schema import Tree
from state.record import Record
from state.shape import readable, typed
from state.store import Store


@dataclass(frozen=True, slots=True)
class CachedReading:
    revision: str
    tree: Tree
    since: float
    """Seconds since 1970."""


_TREE = Record(Tree, without=("owner", "remarks", "host"))


def keep(store: Store, said: Mapping[str, tuple[str, Tree]], now: float | None = None) -> None:
    """Remembers revision and files by source, and forgets all other sources. What is in force already keeps its
    time."""
    since = time.time() if now is None else now
    rows = [(name, revision, _TREE.text(tree), since) for name, (revision, tree) in said.items()]

    def work(connection: sqlite3.Connection) -> None:
        connection.execute(
            "DELETE FROM reading WHERE source NOT IN (SELECT value FROM json_each(?))", (json.dumps(list(said)),)
        )
        connection.executemany(
            "INSERT INTO reading VALUES (?, ?, ?, ?) ON CONFLICT (source) DO UPDATE SET revision = excluded.revision, "
            "files = excluded.files, since = excluded.since "
            "WHERE (revision, files) <> (excluded.revision, excluded.files)",
            rows,
        )

    store.run(work)


def kept(store: Store) -> dict[str, CachedReading]:
    """By source."""
    return dict(readable(store, "reading", "source, revision, files, since", _kept))


def _kept(source: str, revision: str, files: str, since: float) -> tuple[str, CachedReading]:
    typed(str, str, str, float)(source, revision, files, since)
    return source, CachedReading(revision, _TREE.read(files), since)
