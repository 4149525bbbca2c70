"""Rows and records in the shape that this release gives them. What was written in another (by another release, a
program, a damaged disk) is set aside, said, and no reason not to go on with the rest."""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

from schema.model import State
from schema.system.typed_json import decoded, types_of
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


# ---- as JSON text: an object of a class's fields, each of the type that is declared for it ---------------------------


class Record(Generic[T]):
    """How the records of one class are written and read."""

    def __init__(
        self,
        kind: type[T],
        without: Sequence[str] = (),
        later: Sequence[str] = (),
        names: Mapping[str, str] | None = None,
        closed: bool = False,
    ) -> None:
        """`without`: fields that are not in the text. `later`: those that older releases did not write, and that have
        a default. `names`: the keys of fields that are called otherwise there. `closed`: a record with a key that is
        not known is none of ours; else the key counts for nothing."""
        self._kind = kind
        self._without = without
        self._later = later
        self._names = names or {}
        self._closed = closed

    @cached_property
    def _fields(self) -> dict[str, tuple[str, Any]]:
        """Name and declared type by key."""
        named = types_of(self._kind).items()  # type: ignore[arg-type]
        return {self._names.get(name, name): (name, kind) for name, kind in named if name not in self._without}

    def text(self, record: T) -> str:
        """The record as JSON."""
        return json.dumps({key: getattr(record, name) for key, (name, _) in self._fields.items()}, default=_plain)

    def read(self, text: str, **columns: object) -> T:
        """The inverse; `columns` are what is not in the text. Raises one of OTHER_SHAPE."""
        value = mapping(json.loads(text))
        if self._closed and value.keys() - self._fields.keys():
            raise TypeError("it says more than this release understands")
        known = {
            name: decoded(kind, value[key])
            for key, (name, kind) in self._fields.items()
            if key in value or name not in self._later
        }
        return self._kind(**columns, **known)


def _plain(value: object) -> Any:
    """What JSON has no word for: sets are sorted lists, a record within another one is the list of its fields."""
    if isinstance(value, State):
        return value.to_json()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Set):
        return sorted(value, key=lambda each: each if isinstance(each, int) else str(each))
    if isinstance(value, bytes):
        return value.decode()
    if is_dataclass(value):
        return [getattr(value, field.name) for field in fields(value)]
    raise TypeError(f"{value!r:.40} is not to be written")
