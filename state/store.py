"""The database under the state directory: SQLite, written through to the disk, and never a reason to stop steering.

When it can't be opened or is damaged, what was to be kept is kept in memory for as long as the process lives, and
`fault` says so.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

FILE = "vio4wd.db"
SCHEMA_VERSION = 1
BUSY_TIMEOUT_S = 5.0

TABLES = """
CREATE TABLE IF NOT EXISTS spec (sha256 TEXT PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS history (
    id INTEGER PRIMARY KEY AUTOINCREMENT, time REAL NOT NULL, who TEXT NOT NULL, source TEXT NOT NULL,
    sha256 TEXT NOT NULL, plan TEXT NOT NULL, outcome TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS binding (address TEXT PRIMARY KEY, driver TEXT NOT NULL, override TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS last_good (file TEXT PRIMARY KEY, sha256 TEXT NOT NULL, time REAL NOT NULL);
"""

T = TypeVar("T")


class Store:
    """A connection to the database, or to one in memory when there is no other."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / FILE
        self.fault: str | None = None
        """Why nothing is kept on disk, as a sentence; None when all is well."""
        try:
            state_dir.mkdir(parents=True, exist_ok=True)
            self._connection = _opened(str(self.path))
        except (sqlite3.Error, OSError) as error:
            self._connection = self._memory(error)

    def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Does `work` in one transaction; on a damaged or unwritable database, in memory instead."""
        try:
            with self._connection:
                return work(self._connection)
        except sqlite3.Error as error:
            self._connection.close()
            self._connection = self._memory(error)
        with self._connection:
            return work(self._connection)

    def close(self) -> None:
        self._connection.close()

    def _memory(self, error: Exception) -> sqlite3.Connection:
        self.fault = (
            f"{self.path} can't be used ({error}); history and the last good spec are kept in memory only, until this "
            "process ends. Move the file away, or give its directory space and write permission, then start again"
        )
        return _opened(":memory:")


def _opened(name: str) -> sqlite3.Connection:
    connection = sqlite3.connect(name, timeout=BUSY_TIMEOUT_S)
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise sqlite3.DatabaseError(f"it was written by a newer release, with tables of version {version}")
        connection.execute("PRAGMA journal_mode = WAL")
        # What was applied must be remembered after a power cut; a write per apply is cheap.
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(TABLES)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    except BaseException:
        connection.close()
        raise
    return connection
