"""`vio4wd plan` and `vio4wd apply` against the real engine, and a walk through several specs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest

from tests.kit.paths import ROOT
from tests.kit.topology import Topology, shrunken, topology

PLAN_SCHEMA = json.loads((ROOT / "schema" / "plan.schema.json").read_text())
NOTHING = {"add": 0, "change": 0, "remove": 0, "migrate": 0, "impact": "none"}


@pytest.fixture
def alone() -> Iterator[Topology]:
    """Wires for relays 1 to 3 and an engine without a watch, so that `apply` alone changes it."""
    with topology((1, 2, 3), run=False) as made:
        made.instance.start("engine")
        yield made


def spec(made: Topology, name: str, *relays: int) -> Path:
    """A file of its own with some of the topology's relays."""
    lines = dict(made.lines)
    made.lines = {relay: lines[relay] for relay in relays}
    path = made.instance.directory / f"{name}.yaml"
    path.write_text(made.text)
    made.lines = lines
    return path


def exit_code(made: Topology, path: Path) -> int:
    return made.instance.call("plan", "--detailed-exitcode", str(path)).returncode


def apply(made: Topology, path: Path, *options: str) -> list[str]:
    """Apply a file; afterwards nothing is to be done, however often one asks. What was done: `add relay:1`."""
    outcome = made.instance.report("apply", *options, str(path))
    assert outcome["verdict"] == "applied"
    for _ in range(2):
        assert exit_code(made, path) == 0
        assert made.instance.report("plan", str(path))["summary"] == NOTHING
    return [f"{step['action']} {step['resource']}" for step in outcome["steps"]]


def test_exit_codes_and_words(alone: Topology) -> None:
    one, two = spec(alone, "one", 1), spec(alone, "two", 1, 2)
    apply(alone, one)
    done = alone.instance.call("plan", str(one))
    assert (done.returncode, done.stderr) == (0, "")
    assert "othing" in done.stdout
    assert exit_code(alone, two) == 2
    assert alone.instance.call("plan", str(two)).returncode == 0
    broken = alone.instance.directory / "broken.yaml"
    broken.write_text("relays: 7\n")
    assert exit_code(alone, broken) == 1
    alone.instance.terminate()
    assert exit_code(alone, two) == 1


def test_json_says_what_when_and_at_which_cost(alone: Topology) -> None:
    one, two = spec(alone, "one", 1), spec(alone, "two", 2)
    apply(alone, one)
    hello = alone.instance.client.hello()
    plan = alone.instance.report("plan", str(two))
    jsonschema.validate(plan, PLAN_SCHEMA)
    assert plan["format_version"] == "1"
    (version,) = plan["engine"]
    assert (version["shard"], version["boot_id"], version["generation"]) == (0, hello.boot_id, hello.generation)
    assert plan["summary"] == {"add": 3, "change": 0, "remove": 3, "migrate": 0, "impact": "guest"}
    changes = {f"{each['action']} {each['resource']}": each for each in plan["changes"]}
    removed, added = changes["remove relay:1"], changes["add relay:2"]
    assert (removed["relay"], removed["after"], removed["impact"]) == (1, None, "relay")
    assert (added["relay"], added["before"], added["impact"]) == (2, None, "none")
    assert added["after"]["socket"] == str(alone.instance.socket(2))


def test_a_kept_plan_is_carried_out_once(alone: Topology) -> None:
    kept = alone.instance.directory / "kept.plan"
    one = spec(alone, "one", 1)
    apply(alone, spec(alone, "empty"))
    assert alone.instance.call("plan", "-o", str(kept), str(one)).returncode == 0
    assert alone.instance.call("apply", str(kept)).returncode == 0
    assert exit_code(alone, one) == 0
    again = alone.instance.call("apply", str(kept))
    assert again.returncode == 1
    assert "make a new one" in again.stderr


def test_walk_leaves_survivors_untouched(alone: Topology) -> None:
    """Empty, A, A, B, empty: relay 2 is in A and B, and its guest must not notice anything."""
    empty, a, b = spec(alone, "empty"), spec(alone, "a", 1, 2), spec(alone, "b", 2, 3)
    assert apply(alone, empty) == []
    assert len(apply(alone, a)) == 6
    alone.boot(2, "io")
    before, session = alone.counters(2), alone.session(2)
    with alone.flow(2) as flow:
        assert apply(alone, a) == []
        done = apply(alone, b)
        report = flow.finish()
    assert report.clean, report
    assert sorted(step.split()[0] for step in done) == ["add"] * 3 + ["remove"] * 3
    assert not any(step.endswith(("relay:2", "pin:2")) for step in done)
    assert alone.session(2) == session
    after = alone.counters(2)
    assert not shrunken(before, after)
    assert after["vf_to_vm"]["rx_packets"] - before["vf_to_vm"]["rx_packets"] == report.sent
    emptied = alone.instance.call("apply", str(empty))
    assert (emptied.returncode, "its guest is connected" in emptied.stderr) == (1, True), emptied
    assert alone.session(2) == session
    assert len(apply(alone, empty, "--allow-destroy", "relay:2")) == 3
    assert not list(alone.instance.sockets.iterdir())
