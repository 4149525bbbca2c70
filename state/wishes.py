"""What owners other than the file want relayed, and what the file holds: both outlive every restart."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from state.shape import mapping, readable, typed
from state.store import Store


@dataclass(frozen=True, slots=True)
class Wish:
    """A relay that an owner wants."""

    owner: str
    """Who asked for it, and alone may take it back: the name of a door, never `file`."""
    relay: int
    wanted: Mapping[str, Any]
    """As an entry of `relays` has it in a spec, without the id."""
    since: float
    """Seconds since 1970. Who came first keeps what two want."""


def put(store: Store, owner: str, relay: int, wanted: Mapping[str, Any], now: float | None = None) -> None:
    """Remembers a wish, in place of what this owner wanted of the relay before; the same again keeps its time."""
    text = json.dumps(dict(wanted), sort_keys=True)
    row = (owner, relay, text, time.time() if now is None else now)

    def work(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM released WHERE relay = ?", (relay,))
        connection.execute(
            "INSERT INTO wish VALUES (?, ?, ?, ?) ON CONFLICT (owner, relay) DO UPDATE SET wanted = excluded.wanted, "
            "since = iif(wanted = excluded.wanted, since, excluded.since)",
            row,
        )

    store.run(work)


def remove(store: Store, owner: str, relay: int) -> None:
    """Forgets a wish. Its owner asked for that by name, so that no guard holds it back: the relay is `released`."""

    def work(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM wish WHERE owner = ? AND relay = ?", (owner, relay))
        connection.execute("INSERT OR IGNORE INTO released VALUES (?)", (relay,))

    store.run(work)


def released(store: Store) -> frozenset[int]:
    """The relays that their owners have taken back, and that may still be live."""
    return frozenset(relay for (relay,) in readable(store, "released", "relay", typed(int)))


def gone(store: Store, relays: Iterable[int]) -> None:
    """These are not live any more: whoever has the id next is guarded again."""
    rows = [(relay,) for relay in relays]
    if rows:
        store.run(lambda connection: connection.executemany("DELETE FROM released WHERE relay = ?", rows))


def wishes(store: Store) -> tuple[Wish, ...]:
    """Everybody's, who came first first."""
    order = "ORDER BY since, owner, relay"
    return tuple(readable(store, "wish", "owner, relay, wanted, since", _wish, order))


def _wish(owner: str, relay: int, wanted: str, since: float) -> Wish:
    typed(str, int, str, float)(owner, relay, wanted, since)
    return Wish(owner, relay, mapping(json.loads(wanted)), since)


def hold(store: Store, things: Iterable[str], now: float | None = None) -> None:
    """Remembers which relay ids, VFs and sockets the file has now; what it had already keeps its time."""
    rows = [(thing, time.time() if now is None else now) for thing in things]
    kept = json.dumps([thing for thing, _ in rows])

    def work(connection: Any) -> None:
        connection.execute("DELETE FROM held WHERE thing NOT IN (SELECT value FROM json_each(?))", (kept,))
        connection.executemany("INSERT OR IGNORE INTO held VALUES (?, ?)", rows)

    store.run(work)


def held(store: Store) -> dict[str, float]:
    """What the file has, and since when."""
    return dict(readable(store, "held", "thing, since", typed(str, float)))
