"""Asks what may never answer, such as a network file system whose server has gone, on a thread of its own: who asks
waits a moment, and goes on."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from schema.system.logs import start_without_signals

WAIT_S = 0.25
"""What answers at all does so in milliseconds; what takes longer is heard of when it has come."""

T = TypeVar("T")


class Unanswered(Exception):  # noqa: N818 - a state of things
    """It has not answered yet, as a sentence."""


class Bounded:
    """One thing that is asked again and again, never twice at once. Not to be shared between threads."""

    def __init__(self, what: str, news: Callable[[], None] = lambda: None, wait_s: float = WAIT_S) -> None:
        """`what` begins a sentence. `news` is called, on another thread, when an answer has come late."""
        self._what = what
        self._news = news
        self._wait_s = wait_s
        self._asked: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Callable[[], Any]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._since: float | None = None
        """When it was asked that has not answered yet, in seconds since 1970."""
        self._late = False

    def do(self, work: Callable[[], T]) -> T:
        """What `work` gives or raises. Where an earlier one had not answered in time, its answer, if it has come by
        now. Raises Unanswered."""
        if self._since is None:
            if not self._started():
                return work()
            self._since = time.time()
            self._asked.put(work)
        answer = self._answer()
        self._since, self._late = None, False
        result: T = answer()
        return result

    def _answer(self) -> Callable[[], Any]:
        with contextlib.suppress(queue.Empty):
            return self._answers.get(timeout=0 if self._late else self._wait_s)
        self._late = True
        with contextlib.suppress(queue.Empty):  # it came just before the thread was told that it is late
            return self._answers.get_nowait()
        at = time.strftime("%H:%M:%S", time.localtime(self._since))
        raise Unanswered(f"{self._what} has not answered since {at}; is its file system a server's that has gone?")

    def _started(self) -> bool:
        """Whether there is a thread; a host that has none to give is asked directly."""
        if self._thread is None:
            thread = threading.Thread(target=self._work_on, name=f"vio4wd {self._what}"[:60], daemon=True)
            try:
                start_without_signals(thread)
            except (RuntimeError, MemoryError):
                return False
            self._thread = thread
        return True

    def _work_on(self) -> None:
        while (work := self._asked.get()) is not None:
            self._answers.put(_outcome(work))
            if self._late:
                self._news()

    def close(self) -> None:
        """Its thread ends as soon as it can; nobody waits for that."""
        self._asked.put(None)


def _outcome(work: Callable[[], Any]) -> Callable[[], Any]:
    try:
        result = work()
    except BaseException as error:
        return lambda error=error: _raise(error)  # type: ignore[misc]
    return lambda: result


def _raise(error: BaseException) -> None:
    raise error
