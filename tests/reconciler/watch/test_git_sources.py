"""A watch that follows a Git repository: pushes, rewritten histories, and what a repository may not say."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kit.fakes.watch_harness import WatchHarness, document
from tests.kit.system.git_repository import Repository
from tests.reconciler.watch.source_specs import from_git, sync, until_source

EXEC = 'apiVersion: vio4wd/v1\nrelays: [{id: 1, vf: "net_failsafe0,exec(id)"}]\n'


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
