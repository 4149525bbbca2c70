"""What is kept up in place of a spec that was rolled back, until the content of the spec changes."""

from __future__ import annotations

import json
from dataclasses import dataclass

from schema.model import State
from state.store import Store

NAME = "hold"


@dataclass(frozen=True, slots=True)
class Hold:
    """One content is not tried again; what stands in its place."""

    sha256: str
    """Of the content."""
    state: State
    """Of the file's relays; other owners go on beside them."""
    reason: str
    """In words that follow on "because"."""
    since: float
    """Seconds since 1970."""
    protected: frozenset[int] = frozenset()
    """Relays that are not to be removed unless that is allowed by name."""


def keep_hold(store: Store, hold: Hold) -> None:
    """In place of any other."""
    value = {
        "sha256": hold.sha256,
        "state": hold.state.to_json(),
        "reason": hold.reason,
        "since": hold.since,
        "protected": sorted(hold.protected),
    }
    row = (NAME, json.dumps(value))
    store.run(lambda connection: connection.execute("INSERT OR REPLACE INTO intent VALUES (?, ?)", row))


def current_hold(store: Store) -> Hold | None:
    query = "SELECT value FROM intent WHERE name = ?"
    row = store.run(lambda connection: connection.execute(query, (NAME,)).fetchone())
    if row is None:
        return None
    value = json.loads(row[0])
    state, protected = State.from_json(value.pop("state")), frozenset(value.pop("protected"))
    return Hold(state=state, protected=protected, **value)


def drop_hold(store: Store) -> None:
    store.run(lambda connection: connection.execute("DELETE FROM intent WHERE name = ?", (NAME,)))
