"""What owners other than the file want relayed, on which CPUs, and what the file claims: all outlive every restart."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from state.record import mapping, readable, typed
from state.store import Store

SHORTEST_S = 0.001
"""Between two who want something, for the order in which they came."""


@dataclass(frozen=True, slots=True)
class RelayRequest:
    """A relay that an owner wants."""

    owner: str
    """Who asked for it, and alone may take it back: the name of a frontend, never `file`."""
    relay: int
    wanted: Mapping[str, Any]
    """As an entry of `relays` has it in a spec, without the id."""
    since: float
    """Seconds since 1970. Who came first keeps what two want."""


def put(store: Store, owner: str, relay: int, wanted: Mapping[str, Any], now: float | None = None) -> None:
    """Remembers a request, in place of what this owner wanted of the relay before; the same again keeps its time."""
    text = json.dumps(dict(wanted), sort_keys=True)

    def work(connection: sqlite3.Connection) -> None:
        row = (owner, relay, text, _after_all(connection) if now is None else now)
        connection.execute("DELETE FROM released WHERE relay = ?", (relay,))
        connection.execute(
            "INSERT INTO wish VALUES (?, ?, ?, ?) ON CONFLICT (owner, relay) DO UPDATE SET wanted = excluded.wanted, "
            "since = iif(wanted = excluded.wanted, since, excluded.since)",
            row,
        )

    store.run(work)


def _after_all(connection: sqlite3.Connection) -> float:
    """Now, or just after whoever came last: a clock that was set back must not let the last come first."""
    query = "SELECT max(since) FROM (SELECT since FROM wish UNION ALL SELECT since FROM held)"
    latest = connection.execute(query).fetchone()[0]
    return max(time.time(), (latest or 0.0) + SHORTEST_S)


def remove(store: Store, owner: str, relay: int) -> None:
    """Forgets a request. Its owner asked for that by name, so that no guard holds it back: the relay is `released`."""

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


def requests(store: Store) -> tuple[RelayRequest, ...]:
    """Everybody's, who came first first."""
    order = "ORDER BY since, owner, relay"
    return tuple(readable(store, "wish", "owner, relay, wanted, since", _request, order))


def _request(owner: str, relay: int, wanted: str, since: float) -> RelayRequest:
    typed(str, int, str, float)(owner, relay, wanted, since)
    return RelayRequest(owner, relay, mapping(json.loads(wanted)), since)


def claim(store: Store, things: Iterable[str], now: float | None = None) -> None:
    """Remembers which relay ids, VFs and sockets the file claims now; what it claimed before keeps its time."""
    names = list(things)
    kept = json.dumps(names)

    def work(connection: sqlite3.Connection) -> None:
        since = _after_all(connection) if now is None else now
        rows = [(thing, since) for thing in names]
        connection.execute("DELETE FROM held WHERE thing NOT IN (SELECT value FROM json_each(?))", (kept,))
        connection.executemany("INSERT OR IGNORE INTO held VALUES (?, ?)", rows)

    store.run(work)


def claimed_since(store: Store) -> dict[str, float]:
    """What the file claims, and since when."""
    return dict(readable(store, "held", "thing, since", typed(str, float)))


# ---- CPUs that relays were given by the core scheduler's clients, or by whatever balances load -----------------------


def keep_pins(store: Store, cpus: Mapping[int, tuple[int, int]]) -> None:
    """Remembers the CPUs of these relays, VF to VM first, in place of what they had."""
    rows = [(relay, *pair) for relay, pair in cpus.items()]
    store.run(lambda connection: connection.executemany("INSERT OR REPLACE INTO pin VALUES (?, ?, ?)", rows))


def forget_pins(store: Store, relays: Iterable[int]) -> None:
    """These have none any more."""
    rows = [(relay,) for relay in relays]
    store.run(lambda connection: connection.executemany("DELETE FROM pin WHERE relay = ?", rows))


def kept_pins(store: Store) -> dict[int, tuple[int, int]]:
    """CPUs by relay."""
    rows = readable(store, "pin", "relay, vf_to_vm, vm_to_vf", typed(int, int, int))
    return {relay: (vf_to_vm, vm_to_vf) for relay, vf_to_vm, vm_to_vf in rows}
