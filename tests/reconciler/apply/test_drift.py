"""Out-of-band changes are noticed without any event, and reverted or only reported."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reconciler.apply.drift import LastVerified, drifted, hold_back, learned, still
from reconciler.apply.executor import Verdict, apply_host
from reconciler.observe.engines import HostSnapshot
from reconciler.planning.host_plan import HostPlan
from reconciler.planning.plan import plan
from reconciler.planning.planned_action import alone
from reconciler.watch.schedule import Timing
from schema.model import Key, Kind, Port, State, Verb
from tests.kit.fakes.fake_engine import FakeEngine, LocalClient
from tests.kit.fakes.watch_harness import WatchHarness, document
from tests.kit.relay_states import state

SOON = Timing(poll_s=3600.0, look_s=3600.0, resync_s=0.1)
"""Nothing but the resync tells."""


class Loop:
    """The loop's turns, without the loop."""

    def __init__(self, engine: FakeEngine, target: State, report: bool = True) -> None:
        self.engine, self.target, self.report = engine, target, report
        self.settled: LastVerified | None = None

    def turn(self) -> tuple[Verdict, set[str]]:
        """How it ended, and what had drifted."""
        client = LocalClient(self.engine)
        seen = {0: client.observe()}
        snapshot = HostSnapshot(seen)
        todo = HostPlan(alone(plan(self.target, seen[0].state)), {0: self.target})
        known = still(self.settled, self.target)
        refs = drifted(todo, snapshot, known)
        drift = refs if self.report else frozenset()
        outcome = apply_host(hold_back(todo, snapshot, known, drift), seen, {0: client})
        self.settled = learned(self.settled, self.target, outcome, drift)
        return outcome.verdict, {f"{kind}:{key}" for _, kind, key in refs}


def change(engine: FakeEngine, kind: Kind, key: Key, **fields: Any) -> None:
    """By somebody else."""
    engine.live[kind, key] = replace(engine.live[kind, key], **fields)


def test_what_was_never_had_is_no_drift_and_is_tried_again() -> None:
    engine = FakeEngine.of(state(), broken={(Verb.ADD, "port:net_null2"): "no-device"})
    loop = Loop(engine, state(1, 2))
    assert loop.turn() == (Verdict.FAILED, set())
    assert loop.turn() == (Verdict.FAILED, set())
    engine.broken.clear()
    assert loop.turn() == (Verdict.APPLIED, set())


def test_what_somebody_changed_is_held_back_as_long_as_it_differs() -> None:
    engine = FakeEngine.of(state())
    loop = Loop(engine, state(1, 2))
    loop.turn()
    change(engine, Kind.SOCKET, "/tmp/1.sock", permissions=0o600)
    for _ in range(3):
        assert loop.turn() == (Verdict.HELD_BACK, {"socket:/tmp/1.sock"})
    change(engine, Kind.SOCKET, "/tmp/1.sock", permissions=0o660)
    assert loop.turn() == (Verdict.APPLIED, set())


def test_drift_beside_what_could_not_be_had_yet() -> None:
    engine = FakeEngine.of(state(), broken={(Verb.ADD, "port:net_null2"): "no-device"})
    loop = Loop(engine, state(1, 2))
    loop.turn()
    change(engine, Kind.PIN, 1, vf_to_vm=2)
    assert loop.turn() == (Verdict.FAILED, {"pin:1"})
    engine.broken.clear()
    assert loop.turn() == (Verdict.HELD_BACK, {"pin:1"})
    assert set(engine.state.relays) == {1, 2}
    assert engine.state.pins[1].vf_to_vm == 2


def test_with_repair_it_is_set_right() -> None:
    engine = FakeEngine.of(state())
    loop = Loop(engine, state(1), report=False)
    loop.turn()
    change(engine, Kind.PIN, 1, vf_to_vm=2)
    assert loop.turn() == (Verdict.APPLIED, {"pin:1"})
    assert loop.turn() == (Verdict.APPLIED, set())


def test_another_engine_another_request_and_what_the_engine_lost_are_no_drift() -> None:
    engine = FakeEngine.of(state())
    loop = Loop(engine, state(1, 2))
    loop.turn()
    engine.restart()
    assert loop.turn() == (Verdict.APPLIED, set())
    loop.target = state(1)
    assert loop.turn() == (Verdict.APPLIED, set())
    del engine.live[Kind.PORT, "net_null1"]
    assert loop.turn() == (Verdict.APPLIED, set())
    assert Port("net_null1") in engine.state.ports.values()


@pytest.mark.parametrize(("code", "tries"), [("unsupported", 1), ("no-device", 4), ("something-new", 4)])
def test_what_time_does_not_heal_is_not_tried_again(code: str, tries: int) -> None:
    engine = FakeEngine.of(state(), broken={(Verb.ADD, "port:net_null2"): code})
    asked: list[str] = []
    engine.before_execute = lambda action: asked.append(action.resource)
    loop = Loop(engine, state(1, 2))
    verdicts = [loop.turn()[0] for _ in range(4)]
    assert asked.count("port:net_null2") == tries
    assert verdicts[0] is Verdict.FAILED
    assert verdicts[-1] is (Verdict.HELD_BACK if tries == 1 else Verdict.FAILED)
    assert set(engine.state.relays) == {1}
    loop.target = state(1, 2, cpus=(1, 2, 3))
    loop.turn()
    assert asked.count("port:net_null2") == tries + 1, "another spec, another try"


def restarted(harness: WatchHarness, more: str = "") -> None:
    harness.stop()
    harness.file.write_text(document(1, 2, more=more))
    harness.start(SOON)
    harness.until("relay 2", lambda: "'relay': 2, 'applied': True" in str(harness.report.get("last_apply")))


def test_the_watch_notices_what_no_event_tells_and_sets_it_right(harness: WatchHarness) -> None:
    restarted(harness)
    socket = next(iter(harness.engine.state.sockets))
    change(harness.engine, Kind.SOCKET, socket, permissions=0o600)
    harness.until("repair", lambda: harness.engine.state.sockets[socket].permissions == 0o660)


def test_the_watch_only_reports_if_asked_until_the_content_changes(harness: WatchHarness) -> None:
    restarted(harness, "drift: report\n")
    socket = next(iter(harness.engine.state.sockets))
    change(harness.engine, Kind.SOCKET, socket, permissions=0o600)
    harness.until("the report", lambda: bool(harness.report["drift"]))
    assert harness.report["drift"] == [f"update socket:{socket}  permissions 0600 -> 0660"]
    relay = next(r for r in harness.report["last_apply"]["relays"] if r["relay"] == 1)
    assert "somebody changed it" in relay["message"]
    assert harness.report["next_retry"] is None
    done = len(harness.engine.executed)
    harness.stop()
    harness.run_dir.joinpath("watch.json").unlink()
    harness.start(SOON)
    harness.until("the report of another watch", lambda: bool(harness.report.get("drift")))
    assert len(harness.engine.executed) == done
    harness.file.write_text(document(1, 2, more="drift: report\n# read again\n"))
    harness.until("repair", lambda: harness.engine.state.sockets[socket].permissions == 0o660)
    assert len(harness.engine.executed) == done + 1
    harness.until("the end of the report", lambda: not harness.report["drift"])
