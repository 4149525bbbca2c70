"""The database under the state directory: SQLite, written through to the disk, and never a reason to stop reconciling.

When it can't be opened, read or written, work goes on with a copy in memory of what can still be read, `fault` says
so, and the disk is tried again now and then: what was written meanwhile is then written there. When the file is taken
away, it is written anew: everybody has to go on with the same one. One of another shape (damaged, of a newer release,
no database) is renamed, and a new one has what could be read of it.
"""

from __future__ import annotations

import errno
import functools
import logging
import os
import sqlite3
import stat
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, TypeVar

from schema.system import locks
from schema.system.files import PRIVATE_DIRECTORY, is_kind, make_directory, make_private, set_aside

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
CREATE TABLE IF NOT EXISTS unreadable (what TEXT NOT NULL, row TEXT NOT NULL, time REAL NOT NULL);
"""

LOG = logging.getLogger("vio4wd.state")
T = TypeVar("T")
Work = Callable[[sqlite3.Connection], Any]


class OtherShape(sqlite3.DatabaseError):
    """A database, but not as this release makes it."""


def _is_of_another_shape(error: Exception) -> bool:
    """Whether trying again can't help: it is damaged, no database, of another release, or no file."""
    if isinstance(error, OSError):
        return error.errno in (errno.EINVAL, errno.EISDIR)
    codes = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
    return isinstance(error, OtherShape) or getattr(error, "sqlite_errorcode", 0) & 0xFF in codes


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
            self.heal()

    def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Does `work` in one transaction; on a damaged or unwritable database, in memory instead. What writes may be
        done once more when the disk works again."""
        self.heal()
        if self.fault is None:
            try:
                with self._connection:
                    return work(self._connection)
            except sqlite3.Error as error:
                broken, self._connection = self._connection, self._fallen(error)
                broken.close()
                self.heal()
        before = self._connection.total_changes
        with self._connection:
            done = work(self._connection)
        if self.fault is not None and self._connection.total_changes != before:
            self._missed.append(work)
        return done

    def heal(self) -> None:
        """After a fault, and not too often, or when the file is another one: opens it again."""
        if self._now() < self._again_at if self.fault is not None else self._file == _identity(self.path):
            return
        try:
            connection = self._caught_up(gone=_identity(self.path) is None)
        except (sqlite3.Error, OSError) as error:
            renewed = self._renewed(error) if _is_of_another_shape(error) else None
            if renewed is None:
                if self.fault is None:
                    self._connection = _copied([self._connection])
                self._say(error)
                return
            connection = renewed
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

    def _renewed(self, error: Exception) -> sqlite3.Connection | None:
        """One in place of what is of another shape, with what is in memory; None when that can't be made now."""
        with suppress(sqlite3.Error, OSError):
            lock = locks.take(self.path.with_name(f"{FILE}.lock"))
            if lock is None:
                return None
            try:
                with suppress(sqlite3.Error, OSError):
                    return self._caught_up(gone=False)  # somebody else has renewed it meanwhile
                for name in (f"{FILE}-wal", f"{FILE}-shm", FILE):
                    if os.path.lexists(self.path.with_name(name)):
                        other = set_aside(self.path.with_name(name))
                LOG.warning("%s (%s) is renamed to %s; what could be read is kept", self.path, error, other.name)
                return self._caught_up(gone=True)
            finally:
                os.close(lock)
        return None

    def close(self) -> None:
        self._connection.close()

    def _fallen(self, error: Exception) -> sqlite3.Connection:
        self._say(error)
        if _is_of_another_shape(error):
            self._again_at = self._now()
        return _copied(_readable(self.path) if is_kind(self.path, stat.S_ISREG) else ())

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
        """Releases the state directory; a second call does nothing."""
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
            raise OtherShape(f"it was written by a newer release, with tables of version {version}")
        connection.execute("PRAGMA journal_mode = WAL")
        # What was applied must be remembered after a power cut; a write per apply is cheap.
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(TABLES)
        _check_columns(connection)
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
            _check_columns(copy)  # a newer release may have others, on which all work would fail
            if copy.execute("PRAGMA quick_check").fetchone()[0] == "ok":
                fresh.close()
                return copy
        copy.close()
    return fresh


def _check_columns(connection: sqlite3.Connection) -> None:
    """Raises OtherShape for a table that has other columns than ours."""
    for name, columns in _columns().items():
        found = _columns_of(connection, name)
        if found != columns:
            raise OtherShape(f"its table '{name}' has the columns {', '.join(found)}")


@functools.cache
def _columns() -> dict[str, list[str]]:
    """Of each table, as TABLES makes them."""
    with closing(sqlite3.connect(":memory:")) as fresh:
        fresh.executescript(TABLES)
        names = fresh.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        return {name: _columns_of(fresh, name) for (name,) in names.fetchall()}


def _columns_of(connection: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]


def _readable(path: Path) -> Iterator[sqlite3.Connection]:
    """Ways to read it. The second is for a disk that can't be written, where WAL has no place for its index."""
    for how in ("mode=ro", "immutable=1"):
        with suppress(sqlite3.Error):
            yield sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, timeout=BUSY_TIMEOUT_S)
