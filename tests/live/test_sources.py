"""A host whose relays come from a Git repository: pushes reach the engine while frames pass, and none is lost."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from schema.model import State
from tests.kit.paths import ROOT
from tests.kit.runner.repetitions import times
from tests.kit.system.git_repository import Repository
from tests.kit.topology import CPUS, MAIN_CPU, WORKER_CPU, Topology, topology, wait_frames

PUSHES = times(3, 20)

pytestmark = [pytest.mark.skipif(len(CPUS) < 2, reason="needs two CPUs"), pytest.mark.needs("git")]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


@pytest.fixture
def relayed() -> Iterator[Topology]:
    with topology(run=False, worker_cpus=[MAIN_CPU, WORKER_CPU]) as made:
        yield made


def relays(made: Topology) -> dict[str, str]:
    """What the repository has: the relays of the topology."""
    return {"relays.yaml": "apiVersion: vio4wd/v1\nrelays:" + made.text.partition("relays:")[2]}


def save(made: Topology, repository: Repository, interval_s: int) -> None:
    """What the file has: all else."""
    named = f"sources: [{{git: {{url: {repository.url}, interval_s: {interval_s}}}}}]\n"
    made.instance.save(made.text.partition("relays:")[0] + named)


def is_on(cpu: int, state: State) -> bool:
    return state.pins[1].vf_to_vm == cpu


def push_pins(made: Topology, repository: Repository, pushes: int) -> list[float]:
    """Moves relay 1 by pushes, each waited for until it is live; how long each took, in seconds."""
    took = []
    for number in range(pushes):
        cpu = (MAIN_CPU, WORKER_CPU)[number % 2]
        made.pin(1, cpu)
        repository.commit(relays(made))
        began = time.monotonic()
        repository.git("push", "--quiet", "origin", "HEAD:main")
        made.instance.wait_state(f"push {number}", partial(is_on, cpu))
        took.append(time.monotonic() - began)
    return took


@pytest.mark.parametrize("way", ["hook", "poll"])
def test_pushes_move_a_relay_under_traffic(relayed: Topology, repository: Repository, way: str) -> None:
    repository.push(relays(relayed))
    save(relayed, repository, interval_s=86400 if way == "hook" else 1)
    relayed.instance.run()
    relayed.boot(1, "io")
    done, session = relayed.changes(), relayed.session(1)
    if way == "hook":
        own = f"PYTHONPATH={ROOT} VIO4WD_RUN_DIR={relayed.instance.run_dir}"
        repository.hook("post-receive", f"{own} exec {sys.executable} -m reconciler sync")
    with relayed.flow(1) as flow:
        wait_frames(flow)
        took = push_pins(relayed, repository, PUSHES)
        wait_frames(flow)
        report = flow.finish()
    print(f"\nfrom the beginning of a push to the moved relay, by {way}: {' '.join(f'{s:.2f}' for s in took)} s")
    assert report.clean, report
    assert set(relayed.changes()[len(done) :]) == {"migrate pin:1"}
    assert relayed.session(1) == session
    source = relayed.instance.status()["watch"]["in_force"]["sources"][0]
    assert source["applied"] == source["attempted"] == repository.git("rev-parse", "HEAD")
    (latest,) = relayed.instance.report("history", "--limit", "1")["applies"]
    assert latest["plan"]["spec"]["revisions"] == {source["name"]: source["applied"]}


def test_a_host_starts_with_its_repository_gone(relayed: Topology, repository: Repository) -> None:
    revision = repository.push(relays(relayed))
    save(relayed, repository, interval_s=1)
    relayed.instance.run()
    repository.url.rename(repository.url.with_suffix(".away"))
    relayed.instance.terminate()
    relayed.instance.run(wait=False)
    relayed.boot(1)
    relayed.wait_ping(1)
    status = relayed.instance.status()
    assert status["watch"]["in_force"]["sources"][0]["applied"] == revision
    assert any("stays as it was" in problem for problem in status["problems"])
