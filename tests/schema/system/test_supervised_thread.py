"""Threads that are to go on for ever: what raises is said, logged once, and started again; what heals is forgotten."""

from __future__ import annotations

import functools
import logging
import threading

import pytest

from schema.system import threads as supervised
from schema.system.threads import SupervisedThread, Threads
from tests.kit.waiting import wait_for


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits that a test can afford."""
    monkeypatch.setattr(supervised, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(supervised, "LAST_WAIT_S", 0.02)


class Work:
    """Fails so many times, then goes on until it is told to end."""

    def __init__(self, failures: int, error: type[BaseException] | None = KeyError) -> None:
        self.begun = 0
        self._failures = failures
        self._error = error
        self.end = threading.Event()

    def __call__(self) -> None:
        self.begun += 1
        if self.begun <= self._failures:
            if self._error is None:
                return
            raise self._error("one\ntwo\x1b[31m")
        self.end.wait()


@pytest.fixture
def threads() -> Threads:
    return Threads()


def begun_twice(work: Work) -> bool:
    return work.begun == 2


def ended(thread: SupervisedThread, work: Work) -> None:
    thread.stop()
    work.end.set()
    assert thread.join(10.0)


def test_what_raises_is_started_again_and_said(threads: Threads, caplog: pytest.LogCaptureFixture) -> None:
    work, news = Work(5), threading.Event()
    thread = threads.start("the reading of it", work, news.set)
    wait_for("the sixth start", lambda: work.begun == 6)
    assert news.is_set()
    (problem,) = threads.problems().values()
    assert problem.startswith("the reading of it failed: KeyError: ")
    assert "it is started again at " in problem
    assert problem.isprintable()
    assert len([each for each in caplog.records if each.exc_info]) == 1, "the same traceback each time"
    ended(thread, work)


def test_an_exit_or_a_return_unasked_is_an_error_too(threads: Threads) -> None:
    for error, words in (SystemExit, "SystemExit"), (None, "it ended without being told to"):
        work = Work(1, error)
        thread = threads.start(f"this with {error}", work)
        wait_for("the second start", functools.partial(begun_twice, work))
        assert words in thread.problem
        ended(thread, work)


def test_what_runs_well_again_has_no_problem(threads: Threads, monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work(1)
    thread = threads.start("this", work)
    wait_for("the second start", lambda: work.begun == 2)
    assert threads.problems()
    monkeypatch.setattr(supervised, "WELL_S", 0.0)
    wait_for("no problem", lambda: not threads.problems())
    ended(thread, work)


def test_whoever_is_stopped_while_it_waits_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervised, "FIRST_WAIT_S", 3600.0)
    monkeypatch.setattr(supervised, "LAST_WAIT_S", 3600.0)
    work = Work(100)
    thread = SupervisedThread("this", work)
    thread.start()
    wait_for("the failure", lambda: bool(thread.problem))
    thread.stop()
    assert thread.join(10.0)
    assert work.begun == 1


def test_distinct_errors_are_logged_up_to_a_bound(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    begun: list[int] = []

    def work() -> None:
        begun.append(1)
        raise ValueError(len(begun))

    thread = SupervisedThread("this", work)
    supervised.MAX_LOGGED, kept = 3, supervised.MAX_LOGGED
    try:
        thread.start()
        wait_for("six starts", lambda: len(begun) >= 6)
    finally:
        supervised.MAX_LOGGED = kept
        thread.stop()
    assert thread.join(10.0)
    assert len(caplog.records) == 3


def test_without_a_thread_it_is_tried_again(threads: Threads, monkeypatch: pytest.MonkeyPatch) -> None:
    """`start` itself is made to fail: the limit of tasks of a whole test run can't be lowered."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    work = Work(0)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        thread = threads.start("this", work)
        assert "this has no thread" in threads.problems()["this"]
    wait_for("its start", lambda: not threads.problems() and work.begun == 1)
    ended(thread, work)
