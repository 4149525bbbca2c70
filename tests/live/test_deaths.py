"""Processes killed by SIGKILL while frames pass. How long each recovery took is printed (pytest -s), never asserted."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from tests.kit.instance import READY_S
from tests.kit.topology import Topology, shrunken, topology, wait_frames
from tests.kit.waiting import wait_for


def kill(pid: int) -> float:
    """SIGKILL. Gives the time."""
    os.kill(pid, signal.SIGKILL)
    return time.monotonic()


def told(what: str, since: float) -> None:
    print(f"{what}: {time.monotonic() - since:.2f} s")


def watch_pid(made: Topology) -> int | None:
    """The watch's process, None while none runs."""
    watch: dict[str, Any] | None = made.instance.status()["watch"]
    return int(watch["pid"]) if watch and watch["running"] else None


def test_killed_watch_is_started_again_and_traffic_never_stops() -> None:
    with topology() as made:
        made.boot(1, "io")
        before, session, done = made.counters(1), made.session(1), made.changes()
        old = watch_pid(made)
        assert old is not None
        with made.flow(1) as flow:
            wait_frames(flow)
            killed = kill(old)
            wait_for("another watch", lambda: watch_pid(made) not in (None, old), 60.0)
            told("kill -9 of the watch: another one runs after", killed)
            wait_frames(flow, 1000)
            report = flow.finish()
        assert report.clean, report
        assert made.session(1) == session
        assert not shrunken(before, made.counters(1))
        assert made.changes() == done
        made.wire(2)
        made.save()
        made.instance.wait_applied()


def test_killed_engine_is_rebuilt_and_traffic_is_back() -> None:
    """testpmd does not connect again by itself, as QEMU does (`reconnect`), so the test starts another guest."""
    with topology((1, 2)) as made:
        made.boot(1)
        assert made.ping(1).received == 10
        boot_id = made.session(1).boot_id
        killed = kill(made.instance.engine_pid)
        wait_for("another engine", lambda: (seen := made.instance.observed()) and seen.boot_id != boot_id, READY_S)
        made.instance.wait_applied()
        told("kill -9 of the engine: everything is rebuilt after", killed)
        made.guests[1].kill()
        made.boot(1)
        made.wait_ping(1)
        told("kill -9 of the engine: a guest that came back is answered after", killed)
        assert made.ping(1).received == 10
        assert made.session(1).connects == 1
        assert made.relay_status(1)["condition"] == "Ready"


def test_killed_run_takes_its_children_along() -> None:
    """Nobody is left who could see to them: engine and watch end in order, and nothing stays."""
    with topology() as made:
        made.boot(1, "io")
        with made.storm(1) as storm:
            wait_frames(storm)
            run = made.instance.processes.pop("run")
            killed = kill(run.pid)
            run.wait()
            wait_for("engine and watch to end", lambda: not made.instance.pids(), 60.0)
            told("kill -9 of run: its children are gone after", killed)
        made.end_guests()
        made.instance.check_nothing_left()
        made.instance.run()
        made.boot(1)
        made.wait_ping(1)
