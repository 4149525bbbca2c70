"""An apply that may still be undone: what was live before it is written down before its first action, and forgotten
when it is confirmed, or when what was live before is live again. Nothing between the two is ever final: whoever finds
it here, with nobody at work on it, undoes it.
"""

from __future__ import annotations

import enum
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, replace

from schema.model import State
from state.record import Record, readable, typed
from state.steady import Steady, steady
from state.store import Store


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


_RECORD = Record(
    Pending,
    without=("token", "phase", "deadline"),
    later=("others", "on_hold", "file", "text", "was", "until"),
    names={"on_hold": "held"},
    closed=True,
)


def _pending(token: str, phase: str, deadline: float, text: str) -> Pending:
    typed(str, str, float)(token, phase, deadline)
    return _RECORD.read(text, token=token, phase=Phase(phase), deadline=deadline)
