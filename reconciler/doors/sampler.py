"""Looks at the engines for the services that only read, on a thread of its own, so that nobody waits for an engine that
hangs; many requests at a time share one look."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.client import EngineError, EngineUnavailable
from reconciler.doors.endpoint import Endpoint, Envelope
from reconciler.doors.readings import Snapshot, stats_reply
from reconciler.fleet import Fleet
from reconciler.legacy.virtioforwarder_pb2 import StatsRequest
from reconciler.rates import together

FRESH_S = 0.02
"""A look so old will do for a request that comes now."""
LONGEST_DELAY_S = 60.0
LATE_S = 0.9
"""A request whose engines do not answer is answered with what was seen last."""


def look(fleet: Fleet) -> Snapshot:
    """What is live, and counted, now. Raises nothing: who does not answer is not in it."""
    sighting = fleet.see()
    try:
        counters = together(fleet.counters())
    except (EngineError, EngineUnavailable):
        counters = None
    return Snapshot(time.monotonic(), sighting, counters)


@dataclass(slots=True)
class _Asked:
    """A request that waits for a look made at `due` or later."""

    due: float
    answer: Callable[[Snapshot], None]


class Sampler:
    """`step` is called by the services' thread; the looks are made on another one."""

    def __init__(self, fleet: Callable[[], Fleet]) -> None:
        self._fleet = fleet
        self._asked: list[_Asked] = []
        self._latest = Snapshot(float("-inf"))
        self._news = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._wanted = threading.Event()
        self._looking = False
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        """Readable when there is a new look."""
        return self._news

    @property
    def due(self) -> float | None:
        """When `step` has something to do next; None: not before there is news."""
        now = time.monotonic()
        times = [each.due if each.due > now else each.due + LATE_S for each in self._asked]
        return min(times, default=None)

    def once(self, answer: Callable[[Snapshot], None]) -> None:
        """Calls `answer` with what is live now."""
        self._asked.append(_Asked(time.monotonic() - FRESH_S, answer))

    def stats(self, endpoint: Endpoint, envelope: Envelope, request: StatsRequest, sockets: Sequence[str]) -> None:
        """Replies with statistics, their rates taken over the request's delay; without one, since the latest look."""

        def end(before: Snapshot | None, after: Snapshot) -> None:
            endpoint.reply(envelope, stats_reply(request, before, after, sockets).SerializeToString())

        delay_s = min(request.delay / 1000, LONGEST_DELAY_S)
        if not delay_s:
            earlier = self._latest
            self.once(lambda after: end(earlier, after))
            return
        due = time.monotonic() + delay_s
        self.once(lambda before: self._asked.append(_Asked(due, lambda after: end(before, after))))

    def step(self, now: float) -> None:
        """Answers what can be answered, and has a look made where one is needed."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._news)
        latest = self._latest
        asked, self._asked = self._asked, []
        for each in asked:
            if latest.at >= each.due or now >= each.due + LATE_S:
                each.answer(latest)
            else:
                self._asked.append(each)
        if any(each.due <= now for each in self._asked) and not self._looking:
            self._looking = True
            self._wanted.set()

    def stop(self) -> None:
        self._stopping = True
        self._wanted.set()
        self._thread.join()
        os.close(self._news)

    def _run(self) -> None:
        with self._fleet() as fleet:
            while self._wanted.wait() and not self._stopping:
                self._wanted.clear()
                self._latest = look(fleet)
                self._looking = False
                os.eventfd_write(self._news, 1)
