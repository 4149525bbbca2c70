"""Where a worker runs: its thread is brought back to its CPU, or it is said that it can't be."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from engine.burst.compiled import layout as at
from engine.burst.compiled.memory import Block
from engine.dataplane.workers import Worker
from tests.kit.waiting import wait_for

CPUS = os.sched_getaffinity(0)
NO_CPU = 1000
"""One that no host of the tests has."""


@pytest.fixture
def thread() -> Iterator[int]:
    """Stands for an lcore's: of this process, asleep."""
    done = threading.Event()
    waiting = threading.Thread(target=done.wait)
    waiting.start()
    assert waiting.native_id is not None
    yield waiting.native_id
    done.set()
    waiting.join()


def worker_on(cpu: int, thread: int) -> Worker:
    made = Worker(cpu, 1, Block(at.WORKER_SIZE))
    made.thread = thread
    return made


@pytest.mark.skipif(len(CPUS) < 2, reason="needs two CPUs")
def test_one_that_was_moved_is_brought_back_once(thread: int) -> None:
    worker = worker_on(max(CPUS), thread)
    assert worker.bring_back()
    assert os.sched_getaffinity(thread) == {max(CPUS)}
    assert not worker.bring_back()


def test_one_that_cannot_be_brought_back_says_so(thread: int) -> None:
    os.sched_setaffinity(thread, {min(CPUS)})
    worker = worker_on(NO_CPU, thread)
    assert not worker.bring_back()
    said = f"the worker of CPU {NO_CPU} runs on CPU {min(CPUS)}, and cannot be brought back (Invalid argument)"
    assert worker.astray == said
    worker.cpu = min(CPUS)
    assert not worker.bring_back()
    assert worker.astray == ""


def test_a_thread_that_has_ended_is_looked_for_again() -> None:
    ended = threading.Thread(target=lambda: None)
    ended.start()
    ended.join()
    assert ended.native_id is not None
    wait_for("the thread to be gone", lambda: not os.path.exists(f"/proc/self/task/{ended.native_id}"))
    worker = worker_on(min(CPUS), ended.native_id)
    assert not worker.bring_back()
    assert (worker.thread, worker.astray) == (0, "")
