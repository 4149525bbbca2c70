"""What is kept up in place of specs that were rolled back, until the content of the spec is another."""

from __future__ import annotations

from dataclasses import dataclass, replace

from schema.model import State
from state.record import Record
from state.shape import readable
from state.store import Store

NAME = "hold"


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


_RECORD = Record(RollbackHold)


def keep_hold(store: Store, hold: RollbackHold) -> None:
    """In place of any other."""
    row = (NAME, _RECORD.text(hold))
    store.run(lambda connection: connection.execute("INSERT OR REPLACE INTO intent VALUES (?, ?)", row))


def current_hold(store: Store) -> RollbackHold | None:
    found = readable(store, "intent", "value", _RECORD.read, "WHERE name = ?", (NAME,))
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
    store.run(lambda connection: connection.execute("DELETE FROM intent WHERE name = ?", (NAME,)))
