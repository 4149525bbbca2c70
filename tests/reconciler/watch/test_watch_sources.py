"""A watch whose spec comes from directories, repositories and other owners: real files, real git, a fake engine on the
real wire. Whatever happens to a source, what it said last stays; nobody's relays are touched but its own."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from reconciler.cli import main
from reconciler.sources.directory import _Reader
from reconciler.watch.schedule import Timing
from schema.paths import sync_file
from state.relay_requests import put, remove
from state.store import Store
from tests.kit.fakes.fake_engine import Served
from tests.kit.fakes.table_host import TableHost
from tests.kit.fakes.watch_harness import NEVER_POLL, WatchHarness, document
from tests.kit.system.git_repository import Repository

NEVER = 86400
EXEC = 'apiVersion: vio4wd/v1\nrelays: [{id: 1, vf: "net_failsafe0,exec(id)"}]\n'


@pytest.fixture
def directory() -> Iterator[Path]:
    """Short, because a socket's path is."""
    with tempfile.TemporaryDirectory(prefix="v4-") as name:
        yield Path(name)


@pytest.fixture
def steer(directory: Path) -> Iterator[Callable[..., WatchHarness]]:
    """Starts a watch of a file or directory, once."""
    started: list[WatchHarness] = []
    served: list[Served] = []

    def start(file: Path, timing: Timing = NEVER_POLL) -> WatchHarness:
        made = WatchHarness(directory, file)
        served.append(Served(made.engine, made.run_dir))
        served[-1].__enter__()
        started.append(made)
        made.start(timing)
        return made

    yield start
    for made in started:
        made.stop()
    for each in served:
        each.__exit__(None, None, None)


@pytest.fixture
def repository(directory: Path) -> Repository:
    return Repository(directory)


def from_git(repository: Repository, interval_s: int = NEVER, more: str = "", **keys: object) -> str:
    named = "".join(f", {key}: {value}" for key, value in keys.items())
    url = f"{{git: {{url: {repository.url}, interval_s: {interval_s}{named}}}}}"
    return f"apiVersion: vio4wd/v1\nsources: [{url}]\n{more}"


def in_force(harness: WatchHarness) -> dict[str, Any]:
    found: dict[str, Any] = harness.report.get("in_force") or {}
    return found


def until_source(harness: WatchHarness, what: str, **facts: str) -> dict[str, Any]:
    """Until the first source has these facts; `problem` is a part of it."""

    def holds() -> bool:
        (found, *_) = in_force(harness).get("sources") or [{}]
        return all(value in found.get(name, "") for name, value in facts.items()) and bool(found)

    harness.until(what, holds)
    source: dict[str, Any] = in_force(harness)["sources"][0]
    return source


def sync(harness: WatchHarness) -> None:
    sync_file(harness.run_dir).touch()


def test_a_push_is_heard_by_its_hook(
    directory: Path, repository: Repository, steer: Callable[..., WatchHarness]
) -> None:
    """As documented: `vio4wd sync` in post-receive. Nothing here polls."""
    file = directory / "vio4wd.yaml"
    file.write_text(from_git(repository))
    repository.push({"relays.yaml": document(1)})
    harness = steer(file)
    harness.until_relays(1)
    sync_line = f"VIO4WD_RUN_DIR={harness.run_dir} exec {sys.executable} -m reconciler.cli sync"
    repository.hook("post-receive", f"cd {os.getcwd()} && {sync_line}")
    revision = repository.push({"relays.yaml": document(1, 2)})
    harness.until_relays(1, 2)
    until_source(harness, "the revision in status", applied=revision, attempted=revision)
    assert harness.removed == []


def test_a_push_is_found_by_polling(
    directory: Path, repository: Repository, steer: Callable[..., WatchHarness]
) -> None:
    file = directory / "vio4wd.yaml"
    file.write_text(from_git(repository, interval_s=1))
    repository.push({"relays.yaml": document(1)})
    harness = steer(file)
    harness.until_relays(1)
    repository.push({"relays.yaml": document(1, 2)})
    harness.until_relays(1, 2)


def test_what_a_repository_may_not_say_changes_nothing(
    directory: Path, repository: Repository, steer: Callable[..., WatchHarness]
) -> None:
    file = directory / "vio4wd.yaml"
    file.write_text(from_git(repository, more='relays: [{id: 9, vf: "net_null9"}]\n'))
    good = repository.push({"relays.yaml": document(1)})
    harness = steer(file)
    harness.until_relays(1, 9)
    for text, problem in (
        ("relays: [", "relays.yaml:1:"),
        (document(1, 9), "id 9 belongs to"),
        (f"{document(1)}sources: [{{directory: {{path: /x}}}}]\n", "can't name further sources"),
        (document(1, more="vhost_user: {directory: /etc}\n"), "/etc/ must lie below"),
        (document(1, more='vhost_user: {permissions: "0666"}\n'), "lets every user of this host in"),
        (EXEC, "net_failsafe is no driver"),
    ):
        bad = repository.push({"relays.yaml": text})
        sync(harness)
        until_source(harness, "the problem", attempted=bad, applied=good, problem=problem)
        assert set(harness.engine.state.relays) == {1, 9}
    file.write_text(file.read_text().replace("id: 9", "id: 8"))  # the file goes on counting, and settles the conflict
    harness.until_relays(1, 8)
    repository.push({"relays.yaml": document(1, 2)})
    sync(harness)
    harness.until_relays(1, 2, 8)
    until_source(harness, "no problem", problem="")


def test_the_policy_counts_from_the_moment_that_it_changes(
    directory: Path, repository: Repository, steer: Callable[..., WatchHarness], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing here polls."""
    policy = directory / "host.policy"
    monkeypatch.setenv("VIO4WD_POLICY", str(policy))
    file = directory / "vio4wd.yaml"
    file.write_text(from_git(repository))
    good = repository.push({"relays.yaml": document(1)})
    harness = steer(file)
    harness.until_relays(1)
    bad = repository.push({"relays.yaml": document(1) + '  - {id: 2, vf: "net_af_xdp0,iface=v0", cpus: [1]}\n'})
    sync(harness)
    until_source(harness, "the problem", attempted=bad, applied=good, problem="net_af_xdp is no driver")
    policy.write_text("apiVersion: vio4wd/v1\ndevices: {net_af_xdp: {iface: interface}}\n")
    policy.chmod(0o644)
    harness.until_relays(1, 2)
    policy.chmod(0o666)  # from now on it is not believed; what is in force stays
    refused = harness.until_refused()
    assert "net_af_xdp is no driver" in refused
    assert "others than its owner may write this" in refused
    assert set(harness.engine.state.relays) == {1, 2}


def test_a_rewritten_history_changes_nothing_until_it_is_allowed(
    directory: Path, repository: Repository, steer: Callable[..., WatchHarness]
) -> None:
    file = directory / "vio4wd.yaml"
    file.write_text(from_git(repository))
    first = repository.push({"relays.yaml": document(1)})
    good = repository.push({"relays.yaml": document(1, 2)})
    harness = steer(file)
    harness.until_relays(1, 2)
    repository.git("reset", "--quiet", "--hard", first)
    other = repository.push({"relays.yaml": document(3)})
    sync(harness)
    until_source(harness, "the problem", attempted=other, applied=good, problem="was rewritten")
    assert set(harness.engine.state.relays) == {1, 2}
    file.write_text(from_git(repository, allow_rewrite="true"))
    harness.until_relays(3)
    until_source(harness, "the new revision", applied=other)


def test_a_repository_that_is_gone_costs_nothing_even_over_a_restart(
    directory: Path, repository: Repository, steer: Callable[..., WatchHarness]
) -> None:
    file = directory / "vio4wd.yaml"
    file.write_text(from_git(repository))
    good = repository.push({"relays.yaml": document(1, 2)})
    harness = steer(file)
    harness.until_relays(1, 2)
    repository.url.rename(directory / "away.git")
    harness.stop()
    shutil.rmtree(directory / "state" / "sources")
    harness.start()
    until_source(harness, "the problem", applied=good, problem="can't be read")
    file.write_text(from_git(repository, more='relays: [{id: 5, vf: "net_null5"}]\n'))
    harness.until_relays(1, 2, 5)
    assert harness.removed == []


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


def test_a_directory_that_is_gone_takes_nothing_along(directory: Path, steer: Callable[..., WatchHarness]) -> None:
    (directory / "d").mkdir()
    (directory / "d" / "relays.yaml").write_text(document(1))
    file = directory / "vio4wd.yaml"
    file.write_text(f"apiVersion: vio4wd/v1\nsources: [{{directory: {{path: {directory / 'd'}}}}}]\n")
    harness = steer(file)
    harness.until_relays(1)
    (directory / "d").rename(directory / "e")
    until_source(harness, "the problem", problem="is no directory; make it")
    (directory / "e" / "relays.yaml").write_text(document(1, 2))
    (directory / "e").rename(directory / "d")
    harness.until_relays(1, 2)
    assert harness.removed == []


def readers(harness: WatchHarness) -> list[int]:
    """The processes that read directories."""
    found = []
    for children in Path("/proc/self/task").glob("*/children"):
        for pid in map(int, children.read_text().split()):
            line = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            if "reconciler.sources.reader" in line and str(harness.directory) in str(line):
                found.append(pid)
    return found


def from_directory(path: Path, more: str = "") -> str:
    return f"apiVersion: vio4wd/v1\nsources: [{{directory: {{path: {path}}}}}]\n{more}"


def test_a_directory_that_does_not_answer_stays_as_it_was(
    directory: Path, steer: Callable[..., WatchHarness], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its reader is stopped, and not to be killed, as one is that waits for a server that has gone."""
    monkeypatch.setattr("reconciler.sources.directory.ANSWER_S", 2.0)
    monkeypatch.setattr("reconciler.sources.directory.INTERVAL_S", 0.1)
    (directory / "d").mkdir()
    (directory / "d" / "relays.yaml").write_text(document(1))
    file = directory / "vio4wd.yaml"
    file.write_text(from_directory(directory / "d"))
    harness = steer(file)
    harness.until_relays(1)
    (hung,), kill = readers(harness), _Reader.kill
    spared = lambda reader: None if reader._process.pid == hung else kill(reader)  # noqa: E731
    monkeypatch.setattr(_Reader, "kill", spared)
    os.kill(hung, signal.SIGSTOP)
    try:
        until_source(harness, "the problem", problem="does not answer: its file system hangs")
        file.write_text(from_directory(directory / "d", 'relays: [{id: 9, vf: "net_null9"}]\n'))
        harness.until_relays(1, 9)
        assert readers(harness) == [hung], "another would hang as well"
        harness.stop()
        harness.start()
        harness.until("that it is kept up", lambda: in_force(harness).get("relays", {}).keys() == {"1", "9"})
        (directory / "d" / "relays.yaml").write_text(document(2))
        harness.until_relays(2, 9)
    finally:
        os.kill(hung, signal.SIGKILL)


def test_a_reader_that_is_killed_is_started_again(directory: Path, steer: Callable[..., WatchHarness]) -> None:
    (directory / "d").mkdir()
    (directory / "d" / "relays.yaml").write_text(document(1))
    file = directory / "vio4wd.yaml"
    file.write_text(from_directory(directory / "d"))
    harness = steer(file)
    harness.until_relays(1)
    for pid in readers(harness):
        os.kill(pid, signal.SIGKILL)
    (directory / "d" / "relays.yaml").write_text(document(1, 2))
    sync(harness)
    harness.until_relays(1, 2)
    assert harness.removed == []
    harness.stop()
    assert readers(harness) == []


@dataclass(frozen=True, slots=True)
class Renamed(TableHost):
    """A host whose name changes."""

    names: list[str] = field(default_factory=lambda: ["node1"])

    def name(self) -> str:
        return self.names[-1]


def test_a_hostname_that_comes_late_or_changes_takes_nothing_along(directory: Path) -> None:
    hosts = directory / "d" / "hosts"
    hosts.mkdir(parents=True)
    (hosts / "node1.yaml").write_text(document(1))
    file = directory / "vio4wd.yaml"
    file.write_text(from_directory(directory / "d", 'relays: [{id: 9, vf: "net_null9"}]\n'))
    harness = WatchHarness(directory, file)
    harness.host = host = Renamed(names=["localhost"])
    with Served(harness.engine, harness.run_dir):
        harness.start(Timing(poll_s=0.1))
        try:
            harness.until("that it is known", lambda: "no hosts/localhost.yaml" in str(harness.report.get("refused")))
            host.names.append("node1")
            harness.until_relays(1, 9)
            host.names.append("node1.example.com")
            (hosts / "node1.yaml").write_text(document(1, 2))
            harness.until_relays(1, 2, 9)
            assert harness.report["faults"] == []
            host.names.append("node7")
            harness.until("the problem", lambda: "name is node7 now" in str(harness.report["faults"]))
            harness.stop()
            harness.start(Timing(poll_s=0.1))
            harness.until("the problem", lambda: "hosts/node1.yaml goes on counting" in str(harness.report["faults"]))
            assert harness.removed == []
            (hosts / "node7.yaml").write_text(document(1, 2, 3))
            harness.until_relays(1, 2, 3, 9)
            harness.until("no problem", lambda: harness.report["faults"] == [])
        finally:
            harness.stop()


def test_a_directory_that_is_given_keeps_the_hosts_file_too(directory: Path) -> None:
    hosts = directory / "d" / "hosts"
    hosts.mkdir(parents=True)
    (hosts / "node1.yml").write_text(document(1))
    harness = WatchHarness(directory, directory / "d")
    harness.host = host = Renamed()
    with Served(harness.engine, harness.run_dir):
        harness.start(Timing(poll_s=0.1))
        try:
            harness.until_relays(1)
            host.names.append("node7")
            harness.until("the problem", lambda: "goes on counting" in str(harness.report["faults"]))
            (hosts / "node1.yml").write_text(document(1, 2))
            harness.until_relays(1, 2)
            assert harness.removed == []
        finally:
            harness.stop()


def test_files_of_a_directory_come_change_and_go(directory: Path, steer: Callable[..., WatchHarness]) -> None:
    spec = directory / "spec"
    (spec / "hosts").mkdir(parents=True)
    (spec / "a.yaml").write_text(document(1))
    harness = steer(spec)
    harness.until_relays(1)
    (spec / "b.yaml").write_text(document(2))
    harness.until_relays(1, 2)
    (spec / "hosts" / "node2.yaml").write_text(document(7))
    (spec / "hosts" / "node1.yaml").write_text(document(3))
    harness.until_relays(1, 2, 3)
    (spec / "c.yaml").write_text(document(2))
    assert "c.yaml:4:10: relays[0].id: id 2 belongs to" in harness.until_refused()
    (spec / "c.yaml").unlink()
    harness.until("no refusal", lambda: not harness.report.get("refused"))
    assert harness.removed == []
    (spec / "b.yaml").unlink()
    harness.until_relays(1, 3)


def test_a_file_of_a_directory_that_is_moved_away_and_written_anew_is_never_gone(
    directory: Path, steer: Callable[..., WatchHarness]
) -> None:
    """As editors do that keep the old one. Between the two the directory lacks a file."""
    spec = directory / "spec"
    spec.mkdir()
    (spec / "a.yaml").write_text(document(1))
    (spec / "b.yaml").write_text(document(2))
    harness = steer(spec)
    harness.until_relays(1, 2)
    for id_ in range(3, 9):
        (spec / "b.yaml").rename(spec / "b.yaml~")
        (spec / "c.yaml").write_text(document(*range(3, id_ + 1)))
        (spec / "b.yaml").write_text(document(2))
    harness.until_relays(*range(1, 9))
    assert harness.removed == []


def test_a_directory_behind_a_symlink_that_is_swapped(directory: Path, steer: Callable[..., WatchHarness]) -> None:
    """As Kubernetes mounts a ConfigMap of several files: a relay moves between them, and none is removed."""
    for number, (first, second) in enumerate(((document(1, 2), document(3)), (document(1), document(2, 3, 4)))):
        volume = directory / "mount" / f"..volume{number}"
        volume.mkdir(parents=True)
        (volume / "a.yaml").write_text(first)
        (volume / "b.yaml").write_text(second)
    mount = directory / "mount"
    (mount / "..data").symlink_to("..volume0")
    for name in ("a.yaml", "b.yaml"):
        (mount / name).symlink_to(f"..data/{name}")
    harness = steer(mount)
    harness.until_relays(1, 2, 3)
    (mount / "..data_tmp").symlink_to("..volume1")
    (mount / "..data_tmp").rename(mount / "..data")
    harness.until_relays(1, 2, 3, 4)
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
