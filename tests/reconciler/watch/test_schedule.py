"""The watch loop on a time of our own: no test here waits."""

from __future__ import annotations

import pytest

from reconciler.apply.executor import Verdict
from reconciler.watch.schedule import Command, LookAtEngine, ReadFile, Reconcile, Schedule, Timing, Wait


class Clock:
    """Drives a machine: commands that have no answer given are collected."""

    def __init__(self) -> None:
        self.now = 100.0
        self.schedule = Schedule(self.now, Timing())
        self.boot, self.generation = "a", 0

    def next(self) -> Command:
        return self.schedule.step(self.now)

    def settle(self) -> None:
        """A good file, an engine, and a first apply that works."""
        assert self.next() == ReadFile()
        self.schedule.file_read(self.now, changed=True)
        assert self.next() == LookAtEngine()
        self.seen()
        assert self.next() == Reconcile()
        self.done(Verdict.APPLIED)

    def seen(self) -> None:
        self.schedule.engine_seen(self.now, self.boot, self.generation)

    def done(self, verdict: Verdict) -> None:
        self.schedule.reconciled(self.now, verdict, self.boot, self.generation)

    def wait(self) -> float:
        """Goes on to when the machine wants to act; how long that took, in seconds."""
        command = self.next()
        assert isinstance(command, Wait)
        waited, self.now = command.until - self.now, command.until
        return round(waited, 3)


def settled() -> Clock:
    clock = Clock()
    clock.settle()
    return clock


def test_first_it_reads_then_looks_then_reconciles_then_waits() -> None:
    assert isinstance(settled().next(), Wait)


def test_without_a_valid_file_nothing_is_reconciled() -> None:
    clock = Clock()
    assert clock.next() == ReadFile()
    clock.schedule.file_read(clock.now, changed=False)
    assert clock.next() == LookAtEngine()
    clock.seen()
    assert isinstance(clock.next(), Wait)


def test_events_of_one_save_are_one_reading() -> None:
    clock = settled()
    for _ in range(5):
        clock.schedule.file_touched(clock.now, writing=False)
        clock.now += 0.01
    assert clock.wait() == 0.04
    assert clock.next() == ReadFile()
    clock.schedule.file_read(clock.now, changed=False)
    assert clock.wait() > 1


def test_a_storm_of_saves_does_not_put_off_reading_for_ever() -> None:
    clock = settled()
    start = clock.now
    while not isinstance(clock.next(), ReadFile):
        clock.schedule.file_touched(clock.now, writing=False)
        clock.now += 0.01
    assert clock.now - start <= 5.1


def test_a_file_that_is_being_written_is_read_when_it_is_closed() -> None:
    clock = settled()
    clock.schedule.file_touched(clock.now, writing=True)
    clock.now += 0.3
    assert isinstance(clock.next(), Wait)
    clock.schedule.file_touched(clock.now, writing=False)
    assert clock.wait() == 0.05
    assert clock.next() == ReadFile()


def test_what_others_want_is_read_at_once_and_half_a_file_is_not_believed() -> None:
    clock = settled()
    clock.schedule.file_touched(clock.now, writing=True)
    clock.now += 0.3
    clock.schedule.requested(clock.now)
    assert clock.next() == ReadFile(half=True)
    assert clock.wait() == pytest.approx(0.7)
    assert clock.next() == ReadFile()
    clock.schedule.requested(clock.now)
    assert clock.next() == ReadFile()


def test_a_file_that_nobody_tells_of_is_polled() -> None:
    clock = settled()
    assert clock.wait() == 5
    assert clock.next() == ReadFile()


def test_failures_are_tried_again_less_and_less_often_up_to_a_limit() -> None:
    clock = settled()
    clock.schedule.file_read(clock.now, changed=True)
    waits = []
    for _ in range(10):
        while not isinstance(command := clock.next(), Reconcile):
            if isinstance(command, Wait):
                clock.now = command.until
            else:
                clock.seen()
        clock.done(Verdict.FAILED)
        assert clock.schedule.retry_at is not None
        waits.append(round(clock.schedule.retry_at - clock.now, 3))
    assert waits == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30]


def test_what_can_not_heal_is_not_tried_again() -> None:
    clock = settled()
    clock.schedule.file_read(clock.now, changed=True)
    assert clock.next() == Reconcile()
    clock.schedule.reconciled(clock.now, Verdict.FAILED, clock.boot, clock.generation, is_retryable=False)
    assert clock.schedule.retry_at is None
    clock.seen()
    assert clock.wait() == 5


def test_without_any_reason_everything_is_compared_now_and_then() -> None:
    clock = settled()
    start = clock.now
    while (command := clock.next()) != Reconcile():
        match command:
            case ReadFile():
                clock.schedule.file_read(clock.now, changed=False)
            case LookAtEngine():
                clock.seen()
            case _:
                clock.wait()
    assert clock.now - start == Timing().resync_s


def test_a_new_spec_does_not_wait_for_the_retry_of_the_old_one() -> None:
    clock = settled()
    clock.schedule.file_read(clock.now, changed=True)
    assert clock.next() == Reconcile()
    clock.done(Verdict.FAILED)
    clock.schedule.file_read(clock.now, changed=True)
    assert clock.next() == Reconcile()


def test_a_flapping_guest_does_not_hurry_a_retry_but_a_link_that_comes_up_does() -> None:
    clock = settled()
    clock.schedule.file_read(clock.now, changed=True)
    assert clock.next() == Reconcile()
    clock.done(Verdict.FAILED)
    clock.schedule.engine_event(clock.now, "guest-connected")
    assert clock.wait() == 0.05
    assert clock.next() == LookAtEngine(), "how relays stand is looked at all the same"
    clock.seen()
    assert clock.wait() == 0.15
    assert clock.next() == Reconcile()
    clock.done(Verdict.FAILED)
    clock.schedule.engine_event(clock.now, "link-up")
    assert clock.wait() == 0.05
    assert clock.next() == LookAtEngine()
    clock.seen()
    assert clock.next() == Reconcile()


def test_an_engine_that_was_started_again_is_rebuilt() -> None:
    clock = settled()
    clock.schedule.engine_event(clock.now, "disconnected")
    assert clock.next() == LookAtEngine()
    clock.schedule.engine_absent(clock.now)
    assert clock.wait() == 0.25
    assert clock.next() == LookAtEngine()
    clock.boot, clock.generation = "b", 0
    clock.seen()
    assert clock.next() == Reconcile()


def test_a_change_by_somebody_else_is_noticed_at_the_next_look() -> None:
    clock = settled()
    clock.generation = 7
    clock.schedule.engine_event(clock.now, "ready")
    assert clock.next() == LookAtEngine()
    clock.seen()
    assert clock.next() == Reconcile()
    clock.done(Verdict.APPLIED)
    clock.seen()
    assert isinstance(clock.next(), Wait)


def test_no_engine_no_reconcile_however_long() -> None:
    clock = settled()
    clock.schedule.engine_absent(clock.now)
    clock.schedule.file_read(clock.now, changed=True)
    for _ in range(500):
        command = clock.next()
        assert command != Reconcile()
        if isinstance(command, Wait):
            clock.now = command.until
        elif command == LookAtEngine():
            clock.schedule.engine_absent(clock.now)
            assert clock.wait() <= 1


def test_lost_stale_and_restarting_lead_to_another_look_or_plan() -> None:
    clock = settled()
    clock.schedule.file_read(clock.now, changed=True)
    assert clock.next() == Reconcile()
    clock.done(Verdict.STALE)
    assert clock.wait() == 0.05
    assert clock.next() == Reconcile()
    clock.done(Verdict.RESTARTING)
    assert clock.wait() == 0.25
    assert clock.next() == LookAtEngine()
    clock.boot = "b"
    clock.seen()
    assert clock.next() == Reconcile()


def test_while_another_applies_it_waits_for_its_turn() -> None:
    clock = settled()
    clock.schedule.file_read(clock.now, changed=True)
    assert clock.next() == Reconcile()
    clock.schedule.busy(clock.now)
    assert clock.wait() == 0.2
    assert clock.next() == Reconcile()
