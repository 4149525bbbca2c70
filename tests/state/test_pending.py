"""An apply that may still be undone: when it has to be, and that confirming and undoing exclude each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from schema.model import Port, State
from state.applied import (
    LastTarget,
    Pending,
    Phase,
    RollbackHold,
    begin,
    confirm,
    current_hold,
    current_pending,
    forget,
    keep_hold,
    keep_target,
    last_target,
    release,
    undo,
    wait,
)
from state.steady import Steady
from state.store import Store

STATE = State.of([Port("net_null1")])
PENDING = Pending("t", "root", "/a.yaml", "aa", time=100.0, before=STATE, protected=frozenset({3}), confirm_s=60.0)
WAITING = replace(PENDING, phase=Phase.WAITING, deadline=160.0, boots={0: "b"})


@pytest.mark.parametrize(
    ("pending", "now", "boots", "why"),
    [
        (PENDING, 101.0, {0: "b"}, "interrupted"),
        (WAITING, 101.0, {0: "b"}, ""),
        (WAITING, 101.0, {}, ""),
        (WAITING, 101.0, {0: "b", 1: "new"}, ""),
        (WAITING, 101.0, {0: "c"}, "started again"),
        (WAITING, 160.0, {0: "b"}, "not confirmed within 60 s"),
        (WAITING, 99.0, {0: "b"}, "not confirmed"),
        (replace(WAITING, phase=Phase.UNDOING, reason="so"), 101.0, {0: "b"}, "so"),
    ],
)
def test_when_it_has_to_be_undone(pending: Pending, now: float, boots: Mapping[int, str], why: str) -> None:
    found = pending.due(now, boots)
    assert bool(found) is bool(why)
    assert why in found


def test_it_survives_and_either_confirming_or_undoing_wins(tmp_path: Path) -> None:
    begin(Store(tmp_path), PENDING)
    store, other = Store(tmp_path), Store(tmp_path)
    assert current_pending(store) == PENDING
    assert not confirm(other, PENDING, 101.0), "it is still being applied"
    wait(store, PENDING, 160.0, {0: "b"})
    waiting = current_pending(other)
    assert waiting is not None
    assert replace(waiting, until=None) == WAITING
    assert not confirm(other, WAITING, 160.0), "too late"
    assert undo(store, WAITING, "so")
    assert not confirm(other, WAITING, 101.0)
    left = current_pending(other)
    assert left is not None
    assert (left.phase, left.reason, left.before) == (Phase.UNDOING, "so", STATE)
    forget(store, left)
    assert current_pending(other) is None


def test_what_was_confirmed_is_not_undone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    begin(store, PENDING)
    wait(store, PENDING, 160.0, {0: "b"})
    assert confirm(store, WAITING, 101.0)
    assert not undo(store, WAITING, "so")


@pytest.mark.parametrize("now", [0.0, 101.0, 1e12])
def test_a_clock_that_is_set_neither_shortens_nor_prolongs_its_time(now: float, tmp_path: Path) -> None:
    store = Store(tmp_path)
    begin(store, PENDING)
    wait(store, PENDING, 160.0, {0: "b"})
    waiting = current_pending(store)
    assert waiting is not None
    assert waiting.until is not None
    assert waiting.due(now, {0: "b"}) == ""
    over = replace(waiting, until=waiting.until._replace(seconds=0.0))
    assert "not confirmed within 60 s" in over.due(now, {0: "b"})
    rebooted = replace(waiting, until=Steady("another", 1e12))
    assert "the host was started again" in rebooted.due(now, {})
    assert confirm(store, waiting, now)


def test_a_hold_and_the_last_target_survive(tmp_path: Path) -> None:
    hold = RollbackHold(frozenset({"aa", "bb"}), STATE, "so", 1.0, frozenset({3}))
    last = LastTarget(STATE, frozenset({3}), {0: "b"})
    keep_hold(Store(tmp_path), hold)
    keep_target(Store(tmp_path), last)
    store = Store(tmp_path)
    assert (current_hold(store), last_target(store)) == (hold, last)
    for content in ("cc", "aa"):
        release(store, content)
    assert current_hold(store) == replace(hold, contents=frozenset({"bb"}))
    release(store, "bb")
    assert (current_hold(store), last_target(store)) == (None, last)
