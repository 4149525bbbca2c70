"""What is left for engines that start: kept where it can be, made again when it is lost, and read by nobody else."""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.api import parameters
from engine.api.client import EngineUnavailable
from reconciler.observe.engine_start import forget_unneeded, leave_parameters, left_log_level
from reconciler.observe.engines import Engines, HostSnapshot, known_shards, remembered_homes
from reconciler.watch.schedule import Timing
from schema.model import Engine, Relay, State, Worker
from schema.paths import engine_parameters
from tests.kit.fakes.fake_engine import Served
from tests.kit.fakes.watch_harness import WatchHarness, document
from tests.kit.system.small_disk import small_disk


def targets(*shards: int, level: str = "info") -> dict[int, State]:
    """Of so many shards, each with the relay of its number, counted from 1."""
    return {s: State.of([Engine(log_level=level), Worker(1), Relay(s + 1, "p", "s")]) for s in shards}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.needs("root")
@pytest.mark.parametrize("how", ["full", "read-only"])
def test_while_the_state_directory_can_not_be_written_the_run_directory_has_them(tmp_path: Path, how: str) -> None:
    run, state = tmp_path / "run", tmp_path / "state"
    run.mkdir(mode=0o755)
    with small_disk(state) as disk:
        assert leave_parameters(state, run, targets(0, 1)) == ""
        disk.fill() if how == "full" else disk.read_only()
        said = leave_parameters(state, run, targets(0, 1, 2, level="debug"))
        assert f"kept in {run} only" in said
        assert f"{state} can't be written" in said
        assert {each.name: mode(each) for each in run.iterdir()} == {f"engine-{n}.json": 0o600 for n in range(3)}
        assert (known_shards(run, state), left_log_level(run, state)) == ([0, 1, 2], "debug")
        assert remembered_homes(run, state) == {1: 0, 2: 1, 3: 2}
        paths = [engine_parameters(each) for each in (run, state)]
        assert parameters.read_first(paths).engine.log_level == "debug"
        disk.empty() if how == "full" else disk.read_only(on=False)
        assert leave_parameters(state, run, targets(0, 1, 2, level="debug")) == ""
        assert list(run.iterdir()) == []
        assert parameters.read_first(paths).engine.log_level == "debug"
        assert forget_unneeded(state, run, targets(0)) == ""
        assert known_shards(run, state) == [0]


def test_what_can_be_left_nowhere_is_said(tmp_path: Path) -> None:
    for name in ("run", "state"):
        (tmp_path / name).write_text("in the way")
    assert "old parameters, or none" in leave_parameters(tmp_path / "state", tmp_path / "run", targets(0))


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def directory_with_a_file(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "precious").touch()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "lost": Path.unlink,
    "cut": lambda path: path.write_text(path.read_text()[:50]),
    "empty": lambda path: path.write_text(""),
    "garbage": lambda path: path.write_bytes(b"\xff\0" * 99),
    "another shape": lambda path: path.write_text('{"engine": [], "workers": {}, "relays": {"1": 2}}'),
    "a newer release's": lambda path: path.write_text(path.read_text().replace('"engine": {', '"engine": {"new": 1, ')),
    "a pipe": pipe,
    "a directory": directory_with_a_file,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_without_an_engine_they_are_made_again_whatever_became_of_them(
    tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No event tells of it, and the file of the spec does not change."""
    monkeypatch.setattr("reconciler.observe.engine_start.EVERY_S", 0.1)
    harness = WatchHarness(tmp_path, tmp_path / "vio4wd.yaml")
    harness.file.write_text(document(1))
    path = engine_parameters(tmp_path / "state")
    harness.start()
    try:
        harness.until("parameters", path.exists)
        before = path.read_bytes()
        DAMAGES[damage](path)
        harness.until("parameters again", lambda: path.is_file() and path.read_bytes() == before)
        aside = sorted(each.name for each in path.parent.glob("engine-0.json.*"))
        assert aside == (["engine-0.json.unreadable-1"] if damage == "a directory" else [])
        harness.until("a Problem", lambda: ("was set aside" in str(harness.report.get("faults"))) is bool(aside))
    finally:
        harness.stop()


def test_an_engine_that_answers_only_now_and_then_ends_no_watch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crowd at its API makes some looks fail; the next one, right after it, may be answered."""
    monkeypatch.setattr("reconciler.observe.engine_start.EVERY_S", 0.0)
    looks, see = itertools.count(), Engines.observe

    def see_now_and_then(engines: Engines) -> HostSnapshot:
        if next(looks) % 3:
            return see(engines)
        engines.heard, engines.faults = {}, {0: EngineUnavailable("its API is crowded")}
        return HostSnapshot()

    monkeypatch.setattr(Engines, "observe", see_now_and_then)
    harness = WatchHarness(tmp_path, tmp_path / "vio4wd.yaml")
    harness.file.write_text(document(1))
    with Served(harness.engine, harness.run_dir) as harness.served:
        harness.start(Timing(look_s=0.02, absent_s=0.02))
        try:
            harness.until_relays(1)
            harness.until("further looks", lambda: next(looks) > 100)
        finally:
            harness.stop()
