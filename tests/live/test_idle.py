"""Workers that have nothing to do, and the change between both ways of doing nothing."""

from __future__ import annotations

import pytest

from tests.kit.topology import CPUS, Topology, topology
from tests.kit.waiting import wait_for


def slept(made: Topology) -> float:
    """The share of its time that the worker slept lately."""
    return float(made.instance.status()["workers"][0]["slept"])


def test_an_idle_worker_sleeps_and_wakes() -> None:
    with topology() as made:
        guest = made.boot(1)
        guest.stop()
        wait_for("the worker to sleep most of its time", lambda: slept(made) > 0.5)
        guest.start()
        assert made.ping(1).received == 10


def change_idle(made: Topology, idle: str) -> None:
    """Save `idle: ...`; what is planned is one change in place, and it is made."""
    made.keys["idle"] = idle
    draft = made.instance.directory / "draft.yaml"
    draft.write_text(made.text)
    plan = made.instance.report("plan", str(draft))["changes"]
    assert [(each["action"], each["resource"], each["impact"]) for each in plan] == [("update", "engine:0", "none")]
    made.save()
    made.instance.wait_state(f"idle: {idle}", lambda state: state.engine.idle == idle)


@pytest.mark.skipif(len(CPUS) < 2, reason="needs two CPUs")
def test_idle_changes_in_place() -> None:
    """Adaptive, busy, adaptive: the same engine, the same guest session, and no relay notices."""
    with topology() as made:
        made.boot(1, "io")
        session = made.session(1)
        with made.flow(1) as flow:
            change_idle(made, "busy")
            wait_for("a worker that never sleeps", lambda: slept(made) == 0.0)
            change_idle(made, "adaptive")
            wait_for("a worker that sleeps", lambda: slept(made) > 0.1)
            report = flow.finish()
        assert report.clean, report
        assert made.session(1) == session
