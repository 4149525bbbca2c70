"""What the engines were last made to be: by it a guard knows what was protected, and a plan what has drifted. And what
is kept up in place of specs that were rolled back, until the content of the spec is another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from schema.model import Key, Kind, State
from state.record import OTHER_SHAPE, Record, readable
from state.store import Store

_LAST = "last target"
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


_TARGET = Record(LastTarget)


def keep_target(store: Store, last: LastTarget) -> None:
    """Remembers it, unless it is what is remembered."""
    text = _TARGET.text(last)
    if _text(store) != text:
        store.run(lambda connection: connection.execute("INSERT OR REPLACE INTO intent VALUES (?, ?)", (_LAST, text)))


def last_target(store: Store) -> LastTarget | None:
    """None when nothing was carried out yet, or by a release that knew other resources."""
    try:
        return _TARGET.read(_text(store))
    except OTHER_SHAPE:
        return None


def _text(store: Store) -> str:
    query = "SELECT value FROM intent WHERE name = ?"
    row = store.run(lambda connection: connection.execute(query, (_LAST,)).fetchone())
    return str(row[0]) if row is not None else ""


# ---- in place of a spec ----------------------------------------------------------------------------------------------


_HOLD = "hold"


@dataclass(frozen=True, slots=True)
class RollbackHold:
    """What is not tried again; what stands in its place."""

    contents: frozenset[str]
    """By sha256; of several, whichever a file has."""
    state: State
    """Of the file's relays; other owners go on beside them."""
    reason: str
    """In words that follow on "because"."""
    since: float
    """Seconds since 1970."""
    protected: frozenset[int] = frozenset()
    """Relays that are not to be removed unless that is allowed by name."""


_HOLD_RECORD = Record(RollbackHold)


def keep_hold(store: Store, hold: RollbackHold) -> None:
    """In place of any other."""
    row = (_HOLD, _HOLD_RECORD.text(hold))
    store.run(lambda connection: connection.execute("INSERT OR REPLACE INTO intent VALUES (?, ?)", row))


def current_hold(store: Store) -> RollbackHold | None:
    found = readable(store, "intent", "value", _HOLD_RECORD.read, "WHERE name = ?", (_HOLD,))
    return found[0] if found else None


def release(store: Store, sha256: str) -> None:
    """This content is not held back any more; others stay so."""
    hold = current_hold(store)
    if hold is None or sha256 not in hold.contents:
        return
    left = hold.contents - {sha256}
    if left:
        keep_hold(store, replace(hold, contents=left))
    else:
        drop_hold(store)


def drop_hold(store: Store) -> None:
    store.run(lambda connection: connection.execute("DELETE FROM intent WHERE name = ?", (_HOLD,)))
