"""What the engines were last made to be: by it a guard knows what was protected, and a plan what has drifted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from schema.model import Key, Kind, State
from state.record import Record
from state.shape import OTHER_SHAPE
from state.store import Store

NAME = "last target"
ResourceRef = tuple[int, Kind, Key]
"""A shard, and a resource on it."""


@dataclass(frozen=True, slots=True)
class LastTarget:
    """The state that was last wanted and carried out, as far as it could be."""

    state: State
    protected: frozenset[int] = frozenset()
    """Relays that were not to be removed unless that is allowed by name."""
    boots: Mapping[int, str] = field(default_factory=dict)
    """Shard to the boot id of its engine; another engine starts from nothing."""
    open: frozenset[ResourceRef] = frozenset()
    """What did not match it afterwards."""


_RECORD = Record(LastTarget)


def keep_target(store: Store, last: LastTarget) -> None:
    """Remembers it, unless it is what is remembered."""
    text = _RECORD.text(last)
    if _text(store) != text:
        store.run(lambda connection: connection.execute("INSERT OR REPLACE INTO intent VALUES (?, ?)", (NAME, text)))


def last_target(store: Store) -> LastTarget | None:
    """None when nothing was carried out yet, or by a release that knew other resources."""
    try:
        return _RECORD.read(_text(store))
    except OTHER_SHAPE:
        return None


def _text(store: Store) -> str:
    query = "SELECT value FROM intent WHERE name = ?"
    row = store.run(lambda connection: connection.execute(query, (NAME,)).fetchone())
    return str(row[0]) if row is not None else ""
