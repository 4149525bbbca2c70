"""The commands over several engine processes, against fake engines of two ports each on the real wire."""

from __future__ import annotations

import json
from collections.abc import Iterator

import jsonschema
import pytest

from schema.model import State, Worker
from tests.kit.command_line import PLAN_SCHEMA, Shell, document
from tests.kit.fakes.fake_engine import FakeEngine, Served

FOUR = document(*(f"id: {id_}, vf: net_null{id_}" for id_ in (1, 2, 3, 4)))
PORTS = {"ports": 2, "relays": 64}


@pytest.fixture
def first(alone: Shell) -> Iterator[Shell]:
    """The first engine alone."""
    alone.engine.limits = PORTS
    alone.write(FOUR)
    with Served(alone.engine, alone.run_dir):
        yield alone


def second() -> FakeEngine:
    """As it starts with what was left for it."""
    return FakeEngine.of(State(workers=frozenset({Worker(0)})), shard=1, limits=PORTS)


def test_who_is_missing_is_waited_for_and_the_others_go_on(first: Shell) -> None:
    done = first("apply", "--wait", "0.3", first.file)
    assert done.returncode == 1
    assert "shard 1 is needed and does not run" in done.stdout
    assert set(first.engine.state.relays) == {1, 2}
    parameters = json.loads((first.directory / "state" / "engine-1.json").read_text())
    assert parameters["relays"] == [3, 4]
    shown = first("plan", first.file)
    assert "Waiting: shard 1 is needed" in shown.stdout
    assert "Shard 1:" in shown.stdout


def test_all_commands_go_over_all_shards(first: Shell) -> None:
    first("apply", "--wait", "0.1", first.file)
    other = second()
    with Served(other, first.run_dir, 1):
        assert first("apply", first.file).returncode == 0
        assert set(other.state.relays) == {3, 4}
        assert first("plan", "--detailed-exitcode", first.file).returncode == 0
        status = first.json("status")
        assert {relay["id"]: relay["shard"] for relay in status["relays"]} == {1: 0, 2: 0, 3: 1, 4: 1}
        assert [engine["boot_id"] for engine in status["engines"]] == [first.engine.boot_id, other.boot_id]
        assert first("status").stdout.count("SHARD") == 2
        assert {id_: relay["shard"] for id_, relay in first.json("stats")["relays"].items()} == {
            "1": 0,
            "2": 0,
            "3": 1,
            "4": 1,
        }
        assert set(first.json("stats", "--interval", "0.05")) == {"seconds", "relays"}
    assert "shard 1 is needed" not in first("status").stdout  # no watch says that it still is


def test_a_kept_plan_waits_for_the_shard_that_it_starts(first: Shell) -> None:
    kept = first.directory / "today.plan"
    assert first("plan", "-o", kept, first.file).returncode == 0
    kept_plan = json.loads(kept.read_text())
    jsonschema.validate(kept_plan, PLAN_SCHEMA)
    assert [(version["shard"], version["boot_id"]) for version in kept_plan["engine"]] == [
        (0, first.engine.boot_id),
        (1, None),
    ]
    other = second()
    with Served(other, first.run_dir, 1):
        done = first("apply", kept)
        assert done.returncode == 0, done
        assert (set(first.engine.state.relays), set(other.state.relays)) == ({1, 2}, {3, 4})
        assert "make a new one" in first("apply", kept).stderr


def test_a_shard_that_is_not_needed_is_forgotten(first: Shell) -> None:
    first("apply", "--wait", "0.1", first.file)
    with Served(second(), first.run_dir, 1):
        assert first("apply", first.file).returncode == 0
        first.write(document("id: 1, vf: net_null1"))
        assert first("apply", "--allow-destroy", "relay:2", "--allow-destroy", "relay:3", first.file).returncode == 0
    assert not (first.directory / "state" / "engine-1.json").exists()
    assert first("plan", "--detailed-exitcode", first.file).returncode == 0
