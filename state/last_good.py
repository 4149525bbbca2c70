"""The last spec of a file that was accepted: what stays in force while the file is invalid, empty or gone."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass

from state.shape import readable, typed
from state.store import Store


@dataclass(frozen=True, slots=True)
class LastGood:
    """A spec's text and since when it is in force, in seconds since 1970."""

    file: str
    sha256: str
    text: str
    since: float


def keep(store: Store, file: str, sha256: str, text: str, now: float | None = None) -> LastGood:
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
