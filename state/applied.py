"""What applies leave behind: what the engines were last made to be, by which a guard knows what was protected and a
plan what has drifted; what is kept up in place of specs that were rolled back; an apply that waits to be confirmed."""

from __future__ import annotations

import enum
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from schema.model import Key, Kind, State
from state.record import OTHER_SHAPE, Record, readable, typed
from state.steady import Steady, steady
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


class Phase(enum.StrEnum):
    APPLYING = "applying"
    """Somebody is at it, or died at it."""
    WAITING = "waiting"
    """Applied and verified; to be confirmed in time."""
    UNDOING = "undoing"
    """It is being rolled back, or somebody died at that."""


@dataclass(frozen=True, slots=True)
class Pending:
    """One apply. Times are in seconds since 1970."""

    token: str
    """Tells it from all others."""
    who: str
    source: str
    sha256: str
    """Of the spec."""
    time: float
    before: State
    """What was live, on all engines."""
    protected: frozenset[int] = frozenset()
    """Relays that were not to be removed before, unless that is allowed by name."""
    others: frozenset[int] = frozenset()
    """Relays of `before` that are not the file's."""
    on_hold: frozenset[str] = frozenset()
    """The contents that were not to be tried again before, by sha256."""
    confirm_s: float = 0.0
    """How long it waits to be confirmed; 0: it does not."""
    phase: Phase = Phase.APPLYING
    deadline: float = 0.0
    boots: Mapping[int, str] | None = None
    """Shard to the boot id of the engine that it was verified on; None before that."""
    reason: str = ""
    """Why it is undone, in words that follow on "because"."""
    file: str = ""
    """Which file is to say it once it is confirmed; empty: none."""
    text: str = ""
    """The spec, which it is to say then."""
    was: str = ""
    """The sha256 of what it said before."""
    until: Steady | None = None
    """The deadline by the clock that nobody sets; None: an older release wrote it down, or it does not wait."""

    def due(self, now: float, boots: Mapping[int, str]) -> str:
        """Why it has to be undone, when nobody is at work on it; empty as long as it may be confirmed. `boots` are the
        engines that are there."""
        if self.phase is Phase.APPLYING:
            return "whoever applied it was interrupted"
        if self.phase is Phase.UNDOING:
            return self.reason
        others = [shard for shard, boot_id in boots.items() if (self.boots or {}).get(shard, boot_id) != boot_id]
        if others:
            return "the engine was started again before it was confirmed"
        if self.until is not None and self.until.boot != steady().boot:
            return "the host was started again before it was confirmed"
        return f"it was not confirmed within {self.confirm_s:g} s" if self._is_over(now) else ""

    def _is_over(self, now: float) -> bool:
        if self.until is not None:
            return steady().seconds >= self.until.seconds
        return not self.time <= now < self.deadline  # a clock that was set back must not give it a year


_RECORD = Record(
    Pending,
    without=("token", "phase", "deadline"),
    later=("others", "on_hold", "file", "text", "was", "until"),
    names={"on_hold": "held"},
    closed=True,
)


def begin(store: Store, pending: Pending) -> None:
    """Writes it down. To be called by whoever holds the lock for applying, and only while there is no other."""
    row = (pending.token, pending.phase.value, pending.deadline, _RECORD.text(pending))
    store.run(lambda connection: connection.execute("INSERT INTO pending VALUES (?, ?, ?, ?)", row))


def current_pending(store: Store) -> Pending | None:
    found = readable(store, "pending", "token, phase, deadline, value", _pending)
    return found[0] if found else None


def wait(store: Store, pending: Pending, deadline: float, boots: Mapping[int, str]) -> None:
    """From now on it may be confirmed."""
    boot, seconds = steady()
    text = _RECORD.text(replace(pending, boots=boots, until=Steady(boot, seconds + pending.confirm_s)))
    row = (Phase.WAITING.value, deadline, text, pending.token)
    sql = "UPDATE pending SET phase = ?, deadline = ?, value = ? WHERE token = ?"
    store.run(lambda connection: connection.execute(sql, row))


def confirm(store: Store, pending: Pending, now: float) -> bool:
    """Whether it was still to be confirmed; then it is forgotten and stays. Either this or `undo` wins, never both."""
    row = (pending.token, Phase.WAITING.value, now if pending.until is None else 0.0)
    return _changes(store, "DELETE FROM pending WHERE token = ? AND phase = ? AND deadline > ?", row)


def undo(store: Store, pending: Pending, reason: str) -> bool:
    """Whether it is to be undone: not any more when it was confirmed meanwhile."""
    row = (Phase.UNDOING.value, _RECORD.text(replace(pending, reason=reason)), pending.token)
    return _changes(store, "UPDATE pending SET phase = ?, value = ? WHERE token = ?", row)


def forget(store: Store, pending: Pending) -> None:
    """What was wanted, or what was before, is live and verified."""
    _changes(store, "DELETE FROM pending WHERE token = ?", (pending.token,))


def _changes(store: Store, sql: str, row: tuple[object, ...]) -> bool:
    def work(connection: sqlite3.Connection) -> bool:
        return connection.execute(sql, row).rowcount > 0

    return store.run(work)


def _pending(token: str, phase: str, deadline: float, text: str) -> Pending:
    typed(str, str, float)(token, phase, deadline)
    return _RECORD.read(text, token=token, phase=Phase(phase), deadline=deadline)
