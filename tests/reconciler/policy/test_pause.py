"""A paused watch reads on, shows what it would do, and does nothing; nothing but `resume` ends that."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.policy.pause import Pause, end_pause, pause_file, put_pause, read_pause
from tests.kit.fakes.watch_harness import WatchHarness, document


def test_a_pause_outlives_whoever_made_it_and_keeps_its_beginning(tmp_path: Path) -> None:
    assert read_pause(tmp_path) is None
    first = put_pause(tmp_path, "ann", "switch")
    assert read_pause(tmp_path) == first == Pause("ann", "switch", first.since)
    second = put_pause(tmp_path, "bob", "")
    assert (second.who, second.since) == ("bob", first.since)
    assert end_pause(tmp_path) == second
    assert read_pause(tmp_path) is end_pause(tmp_path) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"who": 1}'])
def test_a_pause_that_can_not_be_read_is_one_all_the_same(tmp_path: Path, content: str) -> None:
    pause_file(tmp_path).write_text(content)
    pause = read_pause(tmp_path)
    assert pause is not None
    assert str(pause_file(tmp_path)) in pause.reason


def test_while_paused_nothing_is_changed_and_the_difference_is_shown(harness: WatchHarness) -> None:
    state_dir = harness.directory / "state"
    done = len(harness.engine.executed)
    put_pause(state_dir, "ann", "switch")
    harness.file.write_text(document(1, 2))
    harness.until("the difference", lambda: len(harness.report["waiting"]) == 3)
    assert harness.report["waiting"][0] == "add port:net_null2"
    harness.stop()
    harness.start()
    harness.file.write_text(document(1, 2, 3))
    harness.until("the difference", lambda: len(harness.report["waiting"]) == 6)
    assert len(harness.engine.executed) == done
    end_pause(state_dir)
    harness.until_relays(1, 2, 3)
    harness.until("nothing to wait for", lambda: not harness.report["waiting"])


def test_an_engine_that_starts_anew_while_paused_stays_empty(harness: WatchHarness) -> None:
    put_pause(harness.directory / "state", "ann", "")
    harness.stop()
    harness.engine.restart()
    harness.start()
    harness.until("the difference", lambda: len(harness.report["waiting"]) == 3)
    assert not harness.engine.state.relays
    end_pause(harness.directory / "state")
    harness.until_relays(1)
