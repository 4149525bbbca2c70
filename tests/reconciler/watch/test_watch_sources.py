"""A watch whose spec comes from several sources and owners: real files, real git, a fake engine on the real wire.

Whatever happens to a source, what it said last stays; nobody's relays are touched but its own.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.cli import main
from state.relay_requests import put, remove
from state.store import Store
from tests.kit.fakes.fake_engine import Served
from tests.kit.fakes.watch_harness import WatchHarness, document
from tests.kit.system.git_repository import Repository
from tests.reconciler.watch.source_specs import from_git, in_force, sync


def test_nothing_is_done_before_a_source_was_ever_read(
    directory: Path, repository: Repository, steer: Callable[..., WatchHarness]
) -> None:
    """What the file alone wants is not all that is wanted."""
    file = directory / "vio4wd.yaml"
    file.write_text(from_git(repository, interval_s=1, more='relays: [{id: 9, vf: "net_null9"}]\n'))
    harness = steer(file)
    harness.until("what is missing", lambda: "no branch or tag 'main'" in harness.until_refused())
    assert harness.engine.executed == []
    repository.push({"relays.yaml": document(1)})
    harness.until_relays(1, 9)


def test_a_source_that_is_taken_out_takes_its_relays_along(
    directory: Path, repository: Repository, steer: Callable[..., WatchHarness]
) -> None:
    file = directory / "vio4wd.yaml"
    file.write_text(from_git(repository, more='relays: [{id: 9, vf: "net_null9"}]\n'))
    repository.push({"relays.yaml": document(1)})
    harness = steer(file)
    harness.until_relays(1, 9)
    file.write_text('apiVersion: vio4wd/v1\nrelays: [{id: 9, vf: "net_null9"}]\n')
    harness.until_relays(9)


def test_a_relay_moves_from_one_source_to_another_untouched(
    directory: Path, steer: Callable[..., WatchHarness]
) -> None:
    """Neither file is right without the other's change."""
    parts = [directory / name for name in ("one", "two")]
    for part, relays in zip(parts, (document(1, 2), document(3)), strict=True):
        part.mkdir()
        (part / "relays.yaml").write_text(relays)
    file = directory / "vio4wd.yaml"
    named = ", ".join(f"{{directory: {{path: {part}}}}}" for part in parts)
    file.write_text(f"apiVersion: vio4wd/v1\nsources: [{named}]\n")
    harness = steer(file)
    harness.until_relays(1, 2, 3)
    (parts[1] / "relays.yaml").write_text(document(2, 3))
    harness.until("the conflict", lambda: "relays.yaml:4:" in in_force(harness)["sources"][1]["problem"])
    (parts[0] / "relays.yaml").write_text(document(1))
    harness.until("no conflict", lambda: not any(s["problem"] for s in in_force(harness)["sources"]))
    assert set(harness.engine.state.relays) == {1, 2, 3}
    assert harness.removed == []


def test_a_save_leaves_other_owners_relays_alone(directory: Path, steer: Callable[..., WatchHarness]) -> None:
    file = directory / "vio4wd.yaml"
    file.write_text(document(1, 2))
    harness = steer(file)
    harness.until_relays(1, 2)
    store = Store(directory / "state")
    put(store, "ovsdb", 5, {"vf": "net_null5"})
    put(store, "ovsdb", 6, {"vf": "net_null1"})
    sync(harness)
    harness.until_relays(1, 2, 5)
    harness.until("what is left out", lambda: "relay 6 of ovsdb is left out" in str(in_force(harness)["left_out"]))
    assert in_force(harness)["relays"]["5"]["owner"] == "ovsdb"
    file.write_text(document(2))
    harness.until_relays(2, 5, 6)
    file.write_text(document(2, 5))
    harness.until("what is left out", lambda: "relay 5 of file is left out" in str(in_force(harness)["left_out"]))
    assert {"relay:5", "relay:2"} & set(harness.removed) == set()
    harness.stop()
    harness.start()
    harness.until("what is left out", lambda: "relay 5 of file is left out" in str(in_force(harness)["left_out"]))
    remove(store, "ovsdb", 6)
    sync(harness)
    harness.until_relays(2, 5)
    store.close()


def test_plan_and_apply_see_what_the_watch_sees(
    directory: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = WatchHarness(directory, directory / "vio4wd.yaml")
    monkeypatch.setenv("VIO4WD_RUN_DIR", str(made.run_dir))
    monkeypatch.setenv("VIO4WD_STATE_DIR", str(directory / "state"))
    made.file.write_text(from_git(repository, more="engine: {main_cpu: 0, worker_cpus: [0]}\n"))
    assert main(["plan", str(made.file)]) == 1
    assert "no branch or tag 'main'; set ref to one that it has" in capsys.readouterr().err
    relays = document(1).replace("cpus: [1]", "cpus: [0]").replace("engine: {worker_cpus: [1, 2]}\n", "")
    revision = repository.push({"relays.yaml": relays})
    store = Store(directory / "state")
    put(store, "ovsdb", 5, {"vf": "net_null5"})
    put(store, "ipc", 6, {"vf": "net_null5"})
    with Served(made.engine, made.run_dir):
        assert main(["plan", str(made.file)]) == 0
        shown = capsys.readouterr()
        assert "the spec asks for it (owner: ovsdb)" in shown.out
        assert "relay 6 of ipc is left out: VF net_null5 belongs to relay 5 of ovsdb" in shown.err
        assert main(["plan", "--json", str(made.file)]) == 0
        assert revision in capsys.readouterr().out
        assert main(["apply", str(made.file)]) == 0
        assert set(made.engine.state.relays) == {1, 5}
        repository.url.rename(directory / "away.git")
        capsys.readouterr()
        assert main(["plan", "--detailed-exitcode", str(made.file)]) == 0
        assert f"git {repository.url} main stays as it was:" in capsys.readouterr().err
        assert main(["validate", str(made.file)]) == 0
        assert "0 relays, and what 1 source adds, which was not read" in capsys.readouterr().out
        assert main(["sync"]) == 1
        assert "no watch runs" in capsys.readouterr().err
    store.close()
