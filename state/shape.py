"""Rows in the shape that this release gives them: what was written in another (by another release, a program, a damaged
disk) is set aside, said, and no reason not to go on with the rest."""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from schema.system.typed_json import decoded
from state.store import Store

LOG = logging.getLogger("vio4wd.state")
OTHER_SHAPE = (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError)
"""What comes of putting a value of another shape into ours."""

T = TypeVar("T")


def readable(
    store: Store,
    table: str,
    columns: str,
    shape: Callable[..., T],
    rest: str = "",
    values: Sequence[object] = (),
) -> list[T]:
    """The rows of a table, each as `shape` makes it of its columns. `shape` raises one of OTHER_SHAPE for a row of
    another shape, which is moved to the table `unreadable`. `rest` is what follows in the query, with its `values`."""
    query = f"SELECT rowid, {columns} FROM {table} {rest}"
    found: list[T] = []
    other: list[tuple[int, str]] = []
    for rowid, *row in store.run(lambda connection: connection.execute(query, values).fetchall()):
        try:
            found.append(shape(*row))
        except OTHER_SHAPE as error:
            LOG.warning("%s: an entry of '%s' can't be read (%r) and is set aside", store.path, table, error)
            other.append((rowid, json.dumps(row, default=repr)))
    if other:
        _set_aside(store, table, other)
    return found


def _set_aside(store: Store, table: str, rows: Sequence[tuple[int, str]]) -> None:
    now = time.time()

    def work(connection: sqlite3.Connection) -> None:
        for rowid, text in rows:
            connection.execute("INSERT INTO unreadable VALUES (?, ?, ?)", (table, text, now))
            connection.execute(f"DELETE FROM {table} WHERE rowid = ?", (rowid,))
        connection.execute("DELETE FROM unreadable WHERE rowid <= (SELECT max(rowid) FROM unreadable) - 1000")

    store.run(work)


def typed(*types: type) -> Callable[..., tuple[Any, ...]]:
    """A shape: columns of these types; an int is a float too."""

    def shape(*row: object) -> tuple[Any, ...]:
        return tuple(decoded(kind, value) for kind, value in zip(types, row, strict=True))

    return shape


def mapping(value: object) -> dict[str, Any]:
    """It, when it is what JSON calls an object. Raises TypeError."""
    if not isinstance(value, dict):
        raise TypeError(f"{value!r:.40} is no mapping")
    return value
