"""SIGTERM in the middle of everything: exit 0, and nothing is left on the host."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from engine.process import eal_prefix
from tests.kit.runner.repetitions import times
from tests.kit.system import host
from tests.kit.topology import Topology, topology, wait_frames
from tests.kit.waiting import wait_for

ENDINGS = times(2, 20)


def remains(made: Topology) -> list[str]:
    """What bears this instance's name or the name of its EAL."""
    nothing = host.Leftovers(*(frozenset[str]() for _ in range(5)))
    prefix = eal_prefix(made.instance.run_dir, 0)
    return [*made.instance.left_behind(), *host.snapshot().naming(prefix).since(nothing)]


def flooded(made: Topology) -> None:
    """A guest that sends without end on relay 1, frames from the wire to a guest that sends them back on relay 2."""
    made.boot(1, "txonly")
    made.boot(2, "io")
    wait_for("the flood", lambda: made.counters(1)["vm_to_vf"]["tx_packets"] > 1000)


def test_end_while_traffic_runs() -> None:
    with topology((1, 2), run=False) as made:
        for _ in range(ENDINGS):
            made.instance.run()
            flooded(made)
            with made.storm(2) as storm:
                wait_frames(storm)
                assert made.instance.terminate() == {"run": 0}
            made.end_guests()
            assert remains(made) == []
            assert list(made.instance.run_dir.rglob("*.sock")) == []
            assert host.snapshot().naming(made.namespace.name).namespaces  # the test's own, and only the test's


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_engine_and_watch_apart_end_apart(number: signal.Signals) -> None:
    """The watch ends and the engine forwards on; then the engine ends too."""
    with topology((1, 2), run=False) as made:
        instance = made.instance
        instance.start("engine")
        instance.start("watch", str(instance.file))
        instance.wait_applied()
        flooded(made)
        with made.flow(2) as flow:
            wait_frames(flow)
            watch = instance.processes.pop("watch")
            watch.send_signal(number)
            assert watch.wait(60) == 0
            wait_frames(flow, 500)
            assert flow.finish().clean
            assert instance.call("status").returncode == 0
            assert any("no watch" in problem for problem in instance.status()["problems"])
            engine = instance.processes.pop("engine")
            engine.send_signal(number)
            assert engine.wait(60) == 0
        made.end_guests()
        assert remains(made) == []
        assert not Path(made.instance.socket(1)).exists()


def test_end_during_the_start() -> None:
    """Told to end before the engine is ready: the same."""
    with topology(run=False) as made:
        for _ in range(ENDINGS):
            made.instance.run(wait=False)
            wait_for("the engine's process", lambda: len(made.instance.pids()) >= 3)
            assert made.instance.terminate() == {"run": 0}
            assert remains(made) == []
