"""`apply --confirm` with a real engine and a watch: confirmed or not, and with everybody killed in between. In the end
the old state is live or the new one, verified, and never anything between.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from state.applied import Pending, Phase, current_pending
from state.store import Store
from tests.kit.instance import READY_S
from tests.kit.topology import Topology, topology, wait_frames
from tests.kit.waiting import wait_for
from tests.live.test_deaths import watch_pid

OLD, NEW = {1}, {1, 2}


@pytest.fixture(scope="module")
def made() -> Iterator[Topology]:
    """A watched file with relay 1, and wires for two."""
    with topology((1, 2), run=False) as both:
        (both.instance.directory / "new.yaml").write_text(both.text)
        del both.lines[2]
        both.save()
        both.instance.run()
        yield both


@pytest.fixture
def stage(made: Topology) -> Topology:
    """With the old state live, whatever the test before left."""
    made.save()
    made.instance.wait_applied()
    return made


def draft(made: Topology) -> Path:
    return made.instance.directory / "new.yaml"


def pending(made: Topology) -> Pending | None:
    store = Store(made.instance.state_dir)
    with contextlib.closing(store):
        return current_pending(store)


def begun(made: Topology, confirm: str) -> subprocess.Popen[bytes]:
    """An apply of the new state; it ends by itself, so it is none of the instance's processes that have to stay."""
    made.instance.start("apply", "--confirm", confirm, str(draft(made)))
    return made.instance.processes.pop("apply")


def waiting(made: Topology, confirm: str) -> subprocess.Popen[bytes]:
    """An apply of the new state that waits to be confirmed."""
    process = begun(made, confirm)
    wait_for("an apply that waits", lambda: (left := pending(made)) and left.phase is Phase.WAITING, 60.0)
    assert live(made) == NEW
    return process


def live(made: Topology) -> set[int] | None:
    seen = made.instance.observed()
    return set(seen.state.relays) if seen is not None else None


def verified(made: Topology, relays: set[int]) -> None:
    """Nothing is pending, these relays are live, and nothing is missing of what a file with them wants."""
    wait_for("an end", lambda: pending(made) is None, READY_S, 0.1)
    assert live(made) == relays
    file = draft(made) if relays == NEW else made.instance.directory / "old.yaml"
    (made.instance.directory / "old.yaml").write_text(made.text)
    assert made.instance.call("plan", "--detailed-exitcode", str(file)).returncode == 0, made.instance.log[-3000:]


def test_not_confirmed_the_old_state_is_back_and_its_traffic_never_stopped(stage: Topology) -> None:
    stage.boot(1, "io")
    with stage.flow(1) as flow:
        wait_frames(flow)
        assert waiting(stage, "3s").wait(60) == 1
        wait_frames(flow)
        report = flow.finish()
    stage.end_guests()
    assert report.clean, report
    verified(stage, OLD)


def test_confirmed_the_new_state_stays(stage: Topology) -> None:
    process = waiting(stage, "60s")
    assert stage.instance.call("confirm").returncode == 0
    assert process.wait(60) == 0
    assert stage.instance.file.read_text() == draft(stage).read_text()
    verified(stage, NEW)
    stage.instance.wait_applied()
    verified(stage, NEW)


def test_its_applier_killed_the_watch_brings_the_old_state_back(stage: Topology) -> None:
    process = waiting(stage, "4s")
    process.kill()
    process.wait()
    verified(stage, OLD)


def test_its_applier_killed_it_can_be_confirmed(stage: Topology) -> None:
    process = waiting(stage, "60s")
    process.kill()
    process.wait()
    stage.instance.save(draft(stage).read_text())
    assert stage.instance.call("confirm").returncode == 0
    verified(stage, NEW)


def test_the_watch_killed_its_applier_brings_the_old_state_back(stage: Topology) -> None:
    process, old = waiting(stage, "5s"), watch_pid(stage)
    assert old is not None
    os.kill(old, signal.SIGKILL)
    assert process.wait(60) == 1
    verified(stage, OLD)


def test_the_engine_killed_the_next_one_gets_the_old_state(stage: Topology) -> None:
    process = waiting(stage, "120s")
    os.kill(stage.instance.engine_pid, signal.SIGKILL)
    assert process.wait(READY_S) == 1
    verified(stage, OLD)


def test_run_killed_and_started_again_the_old_state_is_built(stage: Topology) -> None:
    process = waiting(stage, "120s")
    run = stage.instance.processes.pop("run")
    run.kill()
    run.wait()
    wait_for("engine and watch to end", lambda: stage.instance.pids() == [process.pid], 60.0)
    stage.instance.run(wait=False)
    assert process.wait(READY_S) == 1
    verified(stage, OLD)


def test_after_a_reboot_the_old_state_is_built_though_the_file_says_the_new_one(stage: Topology) -> None:
    """Everything is killed, and the run directory is gone, as a tmpfs is."""
    applier = waiting(stage, "120s")
    stage.instance.save(draft(stage).read_text())
    for process in (applier, stage.instance.processes.pop("run")):
        process.kill()
        process.wait()
    for pid in stage.instance.pids():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_for("an end of all", lambda: not stage.instance.pids(), 60.0)
    shutil.rmtree(stage.instance.run_dir)
    stage.instance.run_dir.mkdir()
    stage.instance.run(wait=False)
    wait_for("the old state", lambda: live(stage) == OLD, READY_S, 0.1)
    verified(stage, OLD)
    assert "rolled back" in stage.instance.status()["watch"]["instead"]
    stage.instance.save(draft(stage).read_text() + "\n")
    stage.instance.wait_applied()
    verified(stage, NEW)


@pytest.mark.parametrize("resource", ["port", "socket", "relay"])
def test_killed_at_any_step_it_is_undone(stage: Topology, resource: str) -> None:
    """The applier is killed as soon as the first resource of a kind is seen live."""
    process = begun(stage, "60s")

    def there() -> bool:
        seen = stage.instance.observed()
        return seen is not None and len(getattr(seen.state, f"{resource}s")) > 1

    wait_for(f"the {resource}", there, 60.0, 0.001)
    process.kill()
    process.wait()
    left = pending(stage)
    if left is not None and left.phase is Phase.WAITING:  # the machine was faster than the test
        assert stage.instance.call("confirm").returncode == 0
        stage.save()
        stage.instance.wait_applied()
    verified(stage, OLD)
