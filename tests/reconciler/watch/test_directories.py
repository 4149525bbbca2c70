"""A watch that follows a directory: gone, silent, swapped, or with files for another host's name."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from reconciler.sources.directory import _Reader
from reconciler.watch.schedule import Timing
from tests.kit.fakes.fake_engine import Served
from tests.kit.fakes.table_host import TableHost
from tests.kit.fakes.watch_harness import WatchHarness, document
from tests.reconciler.watch.source_specs import in_force, sync, until_source


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
