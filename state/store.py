"""The database under the state directory: SQLite, written through to the disk, and never a reason to stop steering.

When it can't be opened, read or written, work goes on with a copy in memory of what can still be read, `fault` says
so, and the disk is tried again now and then: what was written meanwhile is then written there. When the file is taken
away, it is written anew: everybody has to go on with the same one.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, TypeVar

from schema.files import PRIVATE_DIRECTORY, make_directory, make_private

FILE = "vio4wd.db"
SCHEMA_VERSION = 1
BUSY_TIMEOUT_S = 5.0
AGAIN_S = 10.0
"""How long after a fault the disk is tried again."""
MISSED = 1000
"""So many writes are made up for; who missed more has a history with a gap."""

TABLES = """
CREATE TABLE IF NOT EXISTS spec (sha256 TEXT PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS history (
    id INTEGER PRIMARY KEY AUTOINCREMENT, time REAL NOT NULL, who TEXT NOT NULL, source TEXT NOT NULL,
    sha256 TEXT NOT NULL, plan TEXT NOT NULL, outcome TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS binding (address TEXT PRIMARY KEY, driver TEXT NOT NULL, override TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS reserved (
    size TEXT PRIMARY KEY, found TEXT NOT NULL, kept TEXT NOT NULL, boot_id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS mounted (path TEXT PRIMARY KEY, made TEXT NOT NULL, boot_id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS reached (id INTEGER PRIMARY KEY, state TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS pending (
    token TEXT PRIMARY KEY, phase TEXT NOT NULL, deadline REAL NOT NULL, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS intent (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS wish (
    owner TEXT, relay INTEGER, wanted TEXT NOT NULL, since REAL NOT NULL, PRIMARY KEY (owner, relay));
CREATE TABLE IF NOT EXISTS reading (
    source TEXT PRIMARY KEY, revision TEXT NOT NULL, files TEXT NOT NULL, since REAL NOT NULL);
CREATE TABLE IF NOT EXISTS held (thing TEXT PRIMARY KEY, since REAL NOT NULL);
CREATE TABLE IF NOT EXISTS released (relay INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS pin (
    relay INTEGER PRIMARY KEY, vf_to_vm INTEGER NOT NULL, vm_to_vf INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS netdev (name TEXT PRIMARY KEY, vf TEXT NOT NULL, vf_index INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS last_good (file TEXT PRIMARY KEY, sha256 TEXT NOT NULL, time REAL NOT NULL);
"""

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], Any]


class Store:
    """A connection to the database, or to its copy in memory. Not to be shared between threads."""

    def __init__(self, state_dir: Path, now: Callable[[], float] = time.monotonic) -> None:
        """`now` gives seconds of any steady clock."""
        self.path = state_dir / FILE
        self.fault: str | None = None
        """Why nothing is kept on disk, as a sentence; None when all is well."""
        self._now = now
        self._again_at = 0.0
        self._missed: deque[Work] = deque(maxlen=MISSED)
        """What was written to the copy in memory only."""
        self._file: tuple[int, int] | None = None
        """The one that is open, when it is on the disk: SQLite goes on with a file that has no name any more."""
        try:
            self._connection = _on_disk(self.path)
            self._file = _identity(self.path)
        except (sqlite3.Error, OSError) as error:
            self._connection = self._fallen(error)

    def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Does `work` in one transaction; on a damaged or unwritable database, in memory instead. What writes may be
        done once more when the disk is to be had again."""
        self.heal()
        if self.fault is None:
            try:
                with self._connection:
                    return work(self._connection)
            except sqlite3.Error as error:
                broken, self._connection = self._connection, self._fallen(error)
                broken.close()
        before = self._connection.total_changes
        with self._connection:
            done = work(self._connection)
        if self._connection.total_changes != before:
            self._missed.append(work)
        return done

    def heal(self) -> None:
        """After a fault, and not too often, or when the file is another one: opens it again."""
        if self._now() < self._again_at if self.fault is not None else self._file == _identity(self.path):
            return
        try:
            connection = self._caught_up(gone=_identity(self.path) is None)
        except (sqlite3.Error, OSError) as error:
            if self.fault is None:
                self._connection = _copied([self._connection])
            self._say(error)
            return
        self._connection.close()
        self._connection, self.fault, self._file = connection, None, _identity(self.path)
        self._missed.clear()

    def _caught_up(self, gone: bool) -> sqlite3.Connection:
        """What is on the disk, with what was missed; with all that there was, when it was `gone`. Raises
        sqlite3.Error."""
        connection = _on_disk(self.path)
        try:
            if gone:
                self._connection.backup(connection)
            with connection:
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")  # writes, whatever it was: it can be
                for work in () if gone else self._missed:
                    work(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        self._connection.close()

    def _fallen(self, error: Exception) -> sqlite3.Connection:
        self._say(error)
        return _copied(_readable(self.path))

    def _say(self, error: Exception) -> None:
        self._again_at = self._now() + AGAIN_S
        self.fault = (
            f"{self.path} can't be used ({error}); history and the last good spec are kept in memory only till then. "
            "Give its directory space and write permission, or move a damaged file away"
        )


class StoreOnDemand:
    """For who may never need the database: it is opened when it is first asked for."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._on_demand: Store | None = None

    @property
    def _store(self) -> Store:
        if self._on_demand is None:
            self._on_demand = Store(self._state_dir)
        return self._on_demand

    def close(self) -> None:
        """Lets go of the state directory; a second call does nothing."""
        if self._on_demand is not None:
            self._on_demand.close()
            self._on_demand = None


def _identity(path: Path) -> tuple[int, int] | None:
    """Another one for another file; None when there is none, or it can't be looked at."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _on_disk(path: Path) -> sqlite3.Connection:
    """The database, for its owner alone, since a spec may hold the VF token; SQLite gives its further files the same
    mode when it makes them. Raises sqlite3.Error, OSError."""
    make_directory(path.parent, mode=PRIVATE_DIRECTORY)
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        if name == path.name or path.with_name(name).exists():
            make_private(path.with_name(name))
    return _opened(str(path))


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
        if version != SCHEMA_VERSION:  # opening alone must not need a disk with room
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    except BaseException:
        connection.close()
        raise
    return connection


def _copied(sources: Iterable[sqlite3.Connection]) -> sqlite3.Connection:
    """A database in memory with what can be read of the first of these that can be, all of which are closed; an empty
    one when nothing can."""
    fresh = _opened(":memory:")
    for source in sources:
        copy = sqlite3.connect(":memory:")
        with closing(source), suppress(sqlite3.Error):
            source.backup(copy)
            copy.executescript(TABLES)
            if _tables(copy) >= _tables(fresh):  # a newer release may have other columns, on which all work would fail
                fresh.close()
                return copy
        copy.close()
    return fresh


def _tables(connection: sqlite3.Connection) -> set[str]:
    """As they were made. Raises sqlite3.Error when they can't be read."""
    names = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall()
    for name, _ in names:
        connection.execute(f"SELECT count(*) FROM {name}").fetchone()
    return {sql for name, sql in names if not name.startswith("sqlite_")}


def _readable(path: Path) -> Iterator[sqlite3.Connection]:
    """Ways to read it. The second is for a disk that can't be written, where WAL has no place for its index."""
    for how in ("mode=ro", "immutable=1"):
        with suppress(sqlite3.Error):
            yield sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, timeout=BUSY_TIMEOUT_S)
