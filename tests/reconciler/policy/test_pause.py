"""A paused watch reads on, shows what it would do, and does nothing; nothing but `resume` ends that."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.policy.pause import Pause, end_pause, pause_file, put_pause, read_pause
from tests.kit.fakes.watch_harness import Steered, document


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


def test_while_paused_nothing_is_changed_and_the_difference_is_shown(steered: Steered) -> None:
    state_dir = steered.directory / "state"
    done = len(steered.engine.executed)
    put_pause(state_dir, "ann", "switch")
    steered.file.write_text(document(1, 2))
    steered.until("the difference", lambda: len(steered.report["waiting"]) == 3)
    assert steered.report["waiting"][0] == "add port:net_null2"
    steered.stop()
    steered.start()
    steered.file.write_text(document(1, 2, 3))
    steered.until("the difference", lambda: len(steered.report["waiting"]) == 6)
    assert len(steered.engine.executed) == done
    end_pause(state_dir)
    steered.until_relays(1, 2, 3)
    steered.until("nothing to wait for", lambda: not steered.report["waiting"])


def test_an_engine_that_starts_anew_while_paused_stays_empty(steered: Steered) -> None:
    put_pause(steered.directory / "state", "ann", "")
    steered.stop()
    steered.engine.restart()
    steered.start()
    steered.until("the difference", lambda: len(steered.report["waiting"]) == 3)
    assert not steered.engine.state.relays
    end_pause(steered.directory / "state")
    steered.until_relays(1)
