"""What was in force last, and stays so while it can't be read or says nothing valid: a file's spec, what each source
said, and by which name of this host its own files were found."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass

from schema import Tree
from state.record import Record, readable, typed
from state.store import Store

# ---- the file --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LastGood:
    """A spec's text and since when it is in force, in seconds since 1970."""

    file: str
    sha256: str
    text: str
    since: float


def keep_spec(store: Store, file: str, sha256: str, text: str, now: float | None = None) -> LastGood:
    """Remembers the accepted spec of `file` (an absolute path); one that is in force already keeps its time."""
    known = last_good(store, file)
    if known is not None and known.sha256 == sha256:
        return known
    since = time.time() if now is None else now

    def work(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT OR IGNORE INTO spec VALUES (?, ?)", (sha256, text))
        connection.execute("INSERT OR REPLACE INTO last_good VALUES (?, ?, ?)", (file, sha256, since))

    store.run(work)
    return LastGood(file, sha256, text, since)


def last_good(store: Store, file: str) -> LastGood | None:
    """What is in force for `file`; None when no spec of it was ever accepted."""
    text = "(SELECT text FROM spec WHERE spec.sha256 = last_good.sha256)"
    shape = typed(str, str, str, float)
    rows = readable(store, "last_good", f"file, sha256, {text}, time", shape, "WHERE file = ?", (file,))
    return LastGood(*rows[0]) if rows else None


# ---- its sources -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CachedReading:
    revision: str
    tree: Tree
    since: float
    """Seconds since 1970."""


_TREE = Record(Tree, without=("owner", "remarks", "host"))


def keep_readings(store: Store, readings: Mapping[str, tuple[str, Tree]], now: float | None = None) -> None:
    """Remembers revision and files by source, and forgets all other sources. What is in force already keeps its
    time."""
    since = time.time() if now is None else now
    rows = [(name, revision, _TREE.text(tree), since) for name, (revision, tree) in readings.items()]

    def work(connection: sqlite3.Connection) -> None:
        connection.execute(
            "DELETE FROM reading WHERE source NOT IN (SELECT value FROM json_each(?))", (json.dumps(list(readings)),)
        )
        connection.executemany(
            "INSERT INTO reading VALUES (?, ?, ?, ?) ON CONFLICT (source) DO UPDATE SET revision = excluded.revision, "
            "files = excluded.files, since = excluded.since "
            "WHERE (revision, files) <> (excluded.revision, excluded.files)",
            rows,
        )

    store.run(work)


def kept_readings(store: Store) -> dict[str, CachedReading]:
    """By source."""
    return dict(readable(store, "reading", "source, revision, files, since", _reading))


def _reading(source: str, revision: str, files: str, since: float) -> tuple[str, CachedReading]:
    typed(str, str, str, float)(source, revision, files, since)
    return source, CachedReading(revision, _TREE.read(files), since)


# ---- this host's name: one that changes must not take its relays away ------------------------------------------------


_HOSTS = "hosts"


def keep_names(store: Store, names: Mapping[str, str]) -> None:
    """By place: the file, or the name of a source. Instead of all that were kept before."""
    row = (_HOSTS, json.dumps(dict(sorted(names.items()))))
    if dict(names) != kept_names(store):
        store.run(lambda connection: connection.execute("INSERT OR REPLACE INTO intent VALUES (?, ?)", row))


def kept_names(store: Store) -> dict[str, str]:
    """What is no such thing counts as nothing."""
    query = "SELECT value FROM intent WHERE name = ?"
    row = store.run(lambda connection: connection.execute(query, (_HOSTS,)).fetchone())
    try:
        value = json.loads(row[0]) if row is not None else {}
    except ValueError:
        return {}
    return {str(place): str(name) for place, name in value.items()} if isinstance(value, dict) else {}
