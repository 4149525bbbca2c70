"""What was applied, when, by whom, from what, and how it ended."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

from schema.model import State
from schema.system.typed_json import decoded
from state.record import OTHER_SHAPE, mapping, readable, typed
from state.store import Store

T = TypeVar("T")
KEPT = 1000
"""Older applies are forgotten: at a hundred a day this is ten days, and some 100 MiB at the very most."""


@dataclass(frozen=True, slots=True)
class PastAction:
    """An action of a plan, and in an outcome how it ended."""

    action: str
    resource: str
    kind: str
    ending: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class PastPlan:
    """Of a plan what a list of applies shows."""

    changes: tuple[PastAction, ...] = ()


@dataclass(frozen=True, slots=True)
class PastOutcome:
    """Of an outcome what people are shown, and what tells whether it can be gone back to."""

    verdict: str = "?"
    message: str = ""
    steps: tuple[PastAction, ...] = ()


@dataclass(frozen=True, slots=True)
class Applied:
    """One apply."""

    id: int
    time: float
    """Seconds since 1970."""
    who: str
    source: str
    """The file of the spec, or of the plan."""
    sha256: str
    plan: Mapping[str, Any]
    outcome: Mapping[str, Any]
    """This and the plan as they were written, by this release or another one."""

    @property
    def planned(self) -> PastPlan:
        return _known(PastPlan, self.plan)

    @property
    def ended(self) -> PastOutcome:
        known = _known(PastOutcome, self.outcome)
        verdict = self.outcome.get("verdict")
        return replace(known, verdict=verdict) if isinstance(verdict, str) else known

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def _known(kind: type[T], value: Mapping[str, Any]) -> T:
    """What of it this release understands."""
    try:
        return decoded(kind, value)
    except OTHER_SHAPE:
        return kind()


def record(
    store: Store,
    *,
    who: str,
    source: str,
    sha256: str,
    text: str,
    plan: Mapping[str, Any],
    outcome: Mapping[str, Any],
    target: State | None = None,
    now: float | None = None,
) -> int:
    """Remembers an apply; gives its id. `text` is that of the spec, empty when it is not known; `target` what was to
    be live afterwards."""
    row = (time.time() if now is None else now, who, source, sha256, json.dumps(plan), json.dumps(outcome))

    def work(connection: sqlite3.Connection) -> int:
        if text:
            connection.execute("INSERT OR IGNORE INTO spec VALUES (?, ?)", (sha256, text))
        id_ = connection.execute(
            "INSERT INTO history (time, who, source, sha256, plan, outcome) VALUES (?, ?, ?, ?, ?, ?)", row
        ).lastrowid
        if target is not None:
            connection.execute("INSERT INTO reached VALUES (?, ?)", (id_, json.dumps(target.to_json())))
        _forget(connection)
        return id_ or 0

    return store.run(work)


def _forget(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM history WHERE id <= (SELECT max(id) FROM history) - ?", (KEPT,))
    connection.execute("DELETE FROM reached WHERE id NOT IN (SELECT id FROM history)")
    connection.execute(
        "DELETE FROM spec WHERE sha256 NOT IN (SELECT sha256 FROM history) "
        "AND sha256 NOT IN (SELECT sha256 FROM last_good)"
    )


def entries(store: Store, limit: int) -> list[Applied]:
    """The latest applies, the newest first."""
    columns = "id, time, who, source, sha256, plan, outcome"
    return readable(store, "history", columns, _applied, "ORDER BY id DESC LIMIT ?", (limit,))


def target_of(store: Store, id_: int) -> State | None:
    """What was to be live after this apply; None when that is not known."""
    found = readable(store, "reached", "state", lambda text: State.from_json(json.loads(text)), "WHERE id = ?", (id_,))
    return found[0] if found else None


def spec_text(store: Store, sha256: str) -> str:
    """The spec with this hash; empty when it is not known."""
    query = "SELECT text FROM spec WHERE sha256 = ?"
    row = store.run(lambda connection: connection.execute(query, (sha256,)).fetchone())
    return str(row[0]) if row is not None else ""


def _applied(id_: int, when: float, who: str, source: str, sha256: str, plan: str, outcome: str) -> Applied:
    typed(int, float, str, str, str)(id_, when, who, source, sha256)
    return Applied(id_, when, who, source, sha256, mapping(json.loads(plan)), mapping(json.loads(outcome)))
