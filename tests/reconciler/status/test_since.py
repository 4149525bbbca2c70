"""How long a relay has stood as it does."""

from __future__ import annotations

from dataclasses import replace

from reconciler.status.conditions import RelayStatus, standings, with_since
from reconciler.status.report import Condition, counted
from reconciler.terminal.output import ago
from tests.kit.fakes.watch_harness import WatchHarness

ONE = RelayStatus(1, "net_null1", "up", "/tmp/1.sock", True, (1, 1), Condition.READY, "")


def test_a_word_keeps_its_time_and_another_word_begins_anew() -> None:
    first = standings({}, [ONE], 10.0)
    pending = replace(ONE, condition=Condition.PENDING, message="no guest is connected")
    second = standings(first, [pending], 20.0)
    third = standings(second, [replace(pending, message="no engine answers")], 30.0)
    assert [found[1].since for found in (first, second, third)] == [10.0, 20.0, 20.0]
    assert third[1].message == "no engine answers"
    assert standings(third, [], 40.0) == {}


def test_what_the_watch_has_not_seen_has_no_time() -> None:
    found = standings({}, [ONE], 10.0)
    assert with_since([ONE], found)[0].since == 10.0
    assert with_since([replace(ONE, condition=Condition.DEGRADED)], found)[0].since is None
    assert with_since([replace(ONE, id=2)], found)[0].since is None


def test_counted() -> None:
    statuses = [replace(ONE, id=id_, condition=c) for id_, c in enumerate([*[Condition.READY] * 3, Condition.DEGRADED])]
    assert counted(standings({}, statuses, 0.0)) == "3 Ready, 1 Degraded"
    assert counted({}) == "no relays"


def test_ago() -> None:
    import time

    now = time.time()
    assert ago(None) == "-"
    assert [ago(now - s) for s in (5, 119, 121, 7300, 200_000)] == ["5 s", "119 s", "2 min", "2 h", "2 d"]


def test_the_watch_says_how_relays_stand_when_a_guest_comes_and_goes_and_across_its_own_restart(
    harness: WatchHarness,
) -> None:
    def condition() -> str:
        return str(harness.report.get("standings", {}).get("1", {}).get("condition"))

    harness.until("a first condition", lambda: condition() == "Pending")
    since = harness.report["standings"]["1"]["since"]
    harness.stop()
    harness.start()
    harness.until("the engine", lambda: harness.report.get("engine") == "ready")
    assert harness.report["standings"]["1"]["since"] == since
    harness.engine.guests.add("/tmp/virtio-forwarder1.sock")
    harness.served.say("guest-connected", "socket:/tmp/virtio-forwarder1.sock", 1)
    harness.until("Ready", lambda: condition() == "Ready")
    assert harness.report["standings"]["1"]["since"] > since
    harness.engine.lost.add("net_null1")
    harness.served.say("members-changed", "port:net_null1", 1)
    harness.until("what is wrong", lambda: condition() == "Degraded")
