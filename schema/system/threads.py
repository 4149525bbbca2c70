"""Threads that a loop can rely on: one for what goes on for ever, started again when it raises, with a sentence for
`status`; and one for what may hang, whose answer is waited for only so long."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

from schema.system.logs import start_without_signals

WAIT_S = 0.25
"""What answers at all does so in milliseconds; what takes longer is heard of when it has come."""
T = TypeVar("T")

LOG = logging.getLogger("vio4wd.threads")
FIRST_WAIT_S, LAST_WAIT_S = 1.0, 30.0
"""Before it is started again: doubled each time that it fails soon."""
WELL_S = 60.0
"""Who ran so long has healed."""
MAX_LOGGED = 20
"""Distinct errors of one thread that the log gets."""


class SupervisedThread:
    """Runs `work` on a thread of its own until `stop`. It is to return only once it was told to end, by whatever means
    its owner has; returning before that counts as an error."""

    def __init__(self, name: str, work: Callable[[], None], news: Callable[[], None] = lambda: None) -> None:
        """`name` begins sentences: `the reading of ...`. `news` is called on the thread when `problem` is another."""
        self.name = name
        self._work = work
        self._news = news
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._began = 0.0
        """When `work` was started that runs now, in seconds of the steady clock; 0 while none does."""
        self._failures = 0
        """In a row."""
        self._problem = ""
        self._error = ""
        self._logged: set[str] = set()

    def start(self) -> None:
        """Does nothing when it is started already; to be called again where `problem` says that there was no thread."""
        if self._thread is not None or self._stop.is_set():
            return
        thread = threading.Thread(target=self._go_on, name=self.name, daemon=True)
        try:
            thread.start()
        except (RuntimeError, MemoryError) as error:
            self._problem = f"{self.name} has no thread ({error}); it is tried again. Raise the limit of tasks"
            return
        self._thread = thread

    @property
    def problem(self) -> str:
        """What happened last, and when it is started again; empty when it never failed, or runs well again."""
        began = self._began
        return "" if began and time.monotonic() - began > WELL_S else self._problem

    def stop(self) -> None:
        """It is not started again. The owner has to tell `work` to end."""
        self._stop.set()

    def join(self, timeout_s: float | None = None) -> bool:
        """Waits until it has ended; whether it has."""
        if self._thread is not None:
            self._thread.join(timeout_s)
        return self._thread is None or not self._thread.is_alive()

    def _go_on(self) -> None:
        self._problem = ""
        while not self._stop.is_set():
            self._began = time.monotonic()
            try:
                self._work()
            except BaseException as error:  # whatever it is: nobody else would ever hear of it
                self._failed(error)
            else:
                self._failed(None)
            ran_s, self._began = time.monotonic() - self._began, 0.0
            if not self._stop.is_set():
                self._wait(ran_s)

    def _wait(self, ran_s: float) -> None:
        self._failures = 1 if ran_s > WELL_S else self._failures + 1
        wait_s = min(FIRST_WAIT_S * 2.0 ** min(self._failures - 1, 20), LAST_WAIT_S)
        at = time.strftime("%H:%M:%S", time.localtime(time.time() + wait_s))
        self._problem = f"{self.name} failed: {self._error}; it is started again at {at}, and the log says more"
        with contextlib.suppress(Exception):  # whoever is to hear it may be gone already
            self._news()
        self._stop.wait(wait_s)

    def _failed(self, error: BaseException | None) -> None:
        if self._stop.is_set() and error is None:
            return
        self._error = one_line(error)
        where = "".join(traceback.format_tb(error.__traceback__)) if error is not None else ""
        if f"{where}{self._error}" in self._logged or len(self._logged) >= MAX_LOGGED:
            return
        self._logged.add(f"{where}{self._error}")
        LOG.error("%s failed, and is started again: %s", self.name, self._error, exc_info=error)


class Threads:
    """All of one process that are supervised, so that what is wrong with them can be said in one place."""

    def __init__(self) -> None:
        self._threads: list[SupervisedThread] = []

    def start(self, name: str, work: Callable[[], None], news: Callable[[], None] = lambda: None) -> SupervisedThread:
        """As `SupervisedThread`, started."""
        thread = SupervisedThread(name, work, news)
        self._threads.append(thread)
        thread.start()
        return thread

    def problems(self) -> dict[str, str]:
        """By the name of the thread, of those that have one. Who found no thread before is started if it can be."""
        for thread in self._threads:
            thread.start()
        return {thread.name: thread.problem for thread in self._threads if thread.problem}

    def forget(self, thread: SupervisedThread) -> None:
        """It was told to stop: what it says no longer matters."""
        if thread in self._threads:
            self._threads.remove(thread)


def one_line(error: BaseException | None) -> str:
    """The error with its kind, on one line that a terminal can show."""
    if error is None:
        return "it ended without being told to"
    text = f"{type(error).__name__}: {error}".strip().removesuffix(":")
    shown = "".join(character if character.isprintable() else " " for character in text)
    return shown if len(shown) <= 300 else f"{shown[:297]}..."


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
