"""The files that vio4wd keeps for itself and reads again, in every shape but theirs: nothing hangs, ends or is taken
for what it is not."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.apply.history import LastApply
from reconciler.apply.outcome import RelayOutcome
from reconciler.apply.saved_plan import PlanError, parse_plan
from reconciler.desired.desired_state import SourceStatus
from reconciler.desired.spec_in_force import InForce, RefusedSpec, RelayInForce
from reconciler.observe.engine_start import left_log_level
from reconciler.observe.engines import known_shards, remembered_homes
from reconciler.planning.describe import Summary
from reconciler.policy.pause import end_pause, put_pause, read_pause
from reconciler.policy.removal_guards import HeldBack
from reconciler.status.report import Report, Standing, read_report, write_report
from reconciler.watch.only_run import HOLDER
from reconciler.watch.only_run import _holder as holder
from schema.model import Impact

STANDS = {"condition": "Ready", "message": "", "since": 1}
WHOLE: dict[str, Any] = {**Report(1, "a.yaml", 1.0).to_json(), "standings": {"1": STANDS}}
WRONG: dict[str, object] = {
    "nothing": b"",
    "half": b'{"pid": 1, "fi',
    "no text": b"\xff\x00\xff",
    "deep": b"[" * 100_000,
    "null": b"null",
    "a list": b"[1]",
    "a number": b"7",
    "another's": b'{"hello": "world"}',
    "huge": b" " * (17 * 1024 * 1024),
    "pipe": os.mkfifo,
    "directory": os.mkdir,
    "link": lambda path: os.symlink("/dev/zero", path),
    "a socket's place": lambda path: os.mknod(path, 0o600 | 0o140000),
}
"""Contents, or what makes something else at the path."""
PARTS: dict[str, dict[str, Any]] = {
    **{f"{name} is a list": {name: ["x"]} for name in WHOLE},
    **{f"{name} is a mapping": {name: {"x": 1}} for name in WHOLE},
    "a standing is a word": {"standings": {"1": "Ready"}},
    "since is a word": {"standings": {"1": {**STANDS, "since": "long"}}},
    "half of what is in force": {"in_force": {"file": "x"}},
    "half of what is held back": {"held": [{"x": 1}]},
}


def lay(path: Path, what: object) -> None:
    if isinstance(what, bytes):
        path.write_bytes(what)
    else:
        assert callable(what)
        what(path)


READERS: dict[str, tuple[str, Callable[[Path], object], object]] = {
    "report": ("watch.json", read_report, None),
    "parameters, homes": ("engine-0.json", remembered_homes, {}),
    "parameters, level": ("engine-0.json", left_log_level, "info"),
    "parameters, shards": ("engine-0.json", known_shards, [0]),
    "who runs": (HOLDER, lambda path: holder(path).startswith("another vio4wd run"), True),
    "pause": ("paused.json", lambda path: getattr(read_pause(path), "who", None), "somebody"),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("what", WRONG)
def test_what_is_in_another_shape_says_nothing(tmp_path: Path, reader: str, what: str) -> None:
    """A pause that can't be read is one all the same: somebody wanted it."""
    name, read, nothing = READERS[reader]
    lay(tmp_path / name, WRONG[what])
    found = read(tmp_path)
    assert found == nothing or (reader == "parameters, shards" and what == "link" and found in ([], [0]))


@pytest.mark.parametrize("what", PARTS)
def test_a_report_whose_parts_are_of_another_type_says_nothing(tmp_path: Path, what: str) -> None:
    (tmp_path / "watch.json").write_text(json.dumps({**WHOLE, **PARTS[what]}))
    found = read_report(tmp_path)
    assert found is None or found.standings.keys() <= {1}


FULL = Report(
    1,
    "a.yaml",
    1.5,
    in_force=InForce(
        "a.yaml",
        "5ba",
        2.5,
        "file",
        {3: RelayInForce("net_null3", "/tmp/3", "ipc")},
        (SourceStatus("git", "r2", "r1", "it is broken"),),
        ("relay 4 of ipc is left out: why",),
    ),
    refused=RefusedSpec(3.5, ("a.yaml:1: no",)),
    last_apply=LastApply(
        7, 4.5, "held", "why", Summary(1, 2, 3, 4, Impact.GUEST), (RelayOutcome(3, False, "not there", True),)
    ),
    next_retry=5.5,
    engine="ready",
    faults=("a fault",),
    threads={"git": "it ended"},
    waiting=("add relay:3",),
    standings={3: Standing("Ready", "", 6.5)},
    drift=("remove relay:5",),
    instead="why not",
    held_back=(HeldBack("relay:3", "its guest is connected", "relay:3"),),
    defaults=True,
)
JSON: dict[str, Any] = {
    "pid": 1,
    "file": "a.yaml",
    "started": 1.5,
    "in_force": {
        "file": "a.yaml",
        "sha256": "5ba",
        "since": 2.5,
        "origin": "file",
        "relays": {"3": {"port": "net_null3", "socket": "/tmp/3", "owner": "ipc"}},
        "sources": [{"name": "git", "attempted": "r2", "applied": "r1", "problem": "it is broken"}],
        "left_out": ["relay 4 of ipc is left out: why"],
    },
    "refused": {"since": 3.5, "problems": ["a.yaml:1: no"]},
    "last_apply": {
        "id": 7,
        "time": 4.5,
        "verdict": "held",
        "message": "why",
        "summary": {"add": 1, "change": 2, "remove": 3, "migrate": 4, "impact": "guest"},
        "relays": [{"relay": 3, "applied": False, "message": "not there", "pending": True}],
    },
    "next_retry": 5.5,
    "engine": "ready",
    "faults": ["a fault"],
    "threads": {"git": "it ended"},
    "waiting": ["add relay:3"],
    "standings": {"3": {"condition": "Ready", "message": "", "since": 6.5}},
    "drift": ["remove relay:5"],
    "instead": "why not",
    "held": [{"resource": "relay:3", "reason": "its guest is connected", "allow": "relay:3"}],
    "defaults": True,
}


def test_a_report_is_the_same_in_json_and_back(tmp_path: Path) -> None:
    """Programs read these keys."""
    write_report(tmp_path, FULL)
    assert json.loads((tmp_path / "watch.json").read_text()) == JSON
    assert read_report(tmp_path) == FULL


def test_a_report_of_another_release_is_read(tmp_path: Path) -> None:
    (tmp_path / "watch.json").write_text(json.dumps({"pid": 1, "file": "a.yaml", "started": 2}))
    assert read_report(tmp_path) == Report(1, "a.yaml", 2)
    stands = {"3": {**STANDS, "condition": "Splendid", "colour": "green"}}
    held = [{**JSON["held"][0], "until": 7.5}]
    (tmp_path / "watch.json").write_text(json.dumps({**JSON, "standings": stands, "held": held, "mood": "good"}))
    assert read_report(tmp_path) == replace(FULL, standings={3: Standing("Splendid", "", 1)})


@pytest.mark.parametrize("what", WRONG)
def test_it_is_written_anew_over_whatever_lies_there(tmp_path: Path, what: str) -> None:
    lay(tmp_path / "watch.json", WRONG[what])
    write_report(tmp_path, Report(1, "a.yaml", 1.0))
    assert read_report(tmp_path) is not None
    lay(tmp_path / "paused.json", WRONG[what])
    put_pause(tmp_path, "me", "why")
    paused = read_pause(tmp_path)
    assert paused is not None
    assert paused.reason == "why"
    (tmp_path / "paused.json").unlink()
    lay(tmp_path / "paused.json", WRONG[what])
    end_pause(tmp_path)
    assert read_pause(tmp_path) is None


@pytest.mark.parametrize("what", [each for each, content in WRONG.items() if isinstance(content, bytes)])
def test_a_plan_in_another_shape_is_refused(what: str) -> None:
    content = WRONG[what]
    assert isinstance(content, bytes)
    with pytest.raises(PlanError):
        parse_plan(content.decode(errors="replace"), "a.plan")
