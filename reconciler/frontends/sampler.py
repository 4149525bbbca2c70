"""Looks at the engines for the services that only read, on a thread of its own, so that nobody waits for an engine that
hangs; many requests at a time share one look."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.api.client import EngineError, EngineUnavailable
from reconciler.frontends.endpoint import Request
from reconciler.frontends.replies import EngineCounts, stats_reply
from reconciler.legacy.virtioforwarder_pb2 import StatsRequest, StatsResponse
from reconciler.observe.engines import Engines
from reconciler.observe.rates import together
from schema.system.threads import Threads
from schema.wire.descriptors import Wakeup

LOG = logging.getLogger("vio4wd.frontends")
FRESH_S = 0.02
"""A look so old will do for a request that comes now."""
LONGEST_DELAY_S = 60.0
LATE_S = 0.9
"""A request whose engines do not answer is answered with what was seen last."""
TURN_S = 0.02
"""So long replies are made before other services have their turn."""


def read_counts(engines: Engines) -> EngineCounts:
    """What is live, and counted, now. Raises nothing: who does not answer is not in it."""
    snapshot = engines.observe()
    try:
        counters = together(engines.counters())
    except (EngineError, EngineUnavailable):
        counters = None
    return EngineCounts(time.monotonic(), snapshot, counters)


@dataclass(slots=True)
class _Asked:
    """A request that waits for a look made at `due` or later."""

    request: Request
    due: float
    answer: Callable[[EngineCounts], bytes | None]
    """None: it waits for another look."""


class Sampler:
    """`step` is called by the services' thread; the looks are made on another one."""

    def __init__(self, engines: Callable[[], Engines], threads: Threads | None = None) -> None:
        self._engines = engines
        self._asked: list[_Asked] = []
        """At most one of each client."""
        self._latest = EngineCounts(float("-inf"))
        self._news = Wakeup()
        self._wanted = threading.Event()
        self._looking = False
        self._stopping = False
        self._threads = threads or Threads()
        self._thread = self._threads.start("the sampling for the ZeroMQ services", self._run)

    def fileno(self) -> int:
        """Readable when there is a new look."""
        return self._news.fileno()

    @property
    def due(self) -> float | None:
        """When `step` has something to do next; None: not before there is news."""
        now, seen_at = time.monotonic(), self._latest.at
        waits = [each.due if each.due > now or each.due <= seen_at else each.due + LATE_S for each in self._asked]
        return min(waits, default=None)

    def once(self, request: Request, answer: Callable[[EngineCounts], bytes]) -> None:
        """Replies with what `answer` makes of what is live now."""
        self._asked.append(_Asked(request, time.monotonic() - FRESH_S, answer))

    def stats(self, request: Request, asked: StatsRequest, sockets: Sequence[str]) -> None:
        """Replies with statistics, their rates taken over the request's delay; without one they are 0."""
        delay_s = min(asked.delay / 1000, LONGEST_DELAY_S)
        if not delay_s:
            self.once(request, lambda after: stats_reply(asked, None, after, sockets).SerializeToString())
            return
        due = time.monotonic() + delay_s

        def again(before: EngineCounts) -> None:
            end = lambda after: stats_reply(asked, before, after, sockets).SerializeToString()  # noqa: E731
            self._asked.append(_Asked(request, due, end))

        self._asked.append(_Asked(request, time.monotonic() - FRESH_S, again))

    def step(self, now: float) -> None:
        """Answers what can be answered, for a while, and has a look made where one is needed."""
        self._news.taken()
        latest = self._latest
        asked, self._asked = self._asked, []
        for each in asked:
            if not each.request.alive:
                continue  # nobody waits for it any more
            ready = latest.at >= each.due or now >= each.due + LATE_S
            if ready and time.monotonic() < now + TURN_S:
                self._answer(each, latest)
            else:
                self._asked.append(each)
        if any(each.due <= now for each in self._asked) and not self._looking:
            self._looking = True
            self._wanted.set()

    @staticmethod
    def _answer(each: _Asked, latest: EngineCounts) -> None:
        try:
            reply = each.answer(latest)
        except Exception:  # one request must not end the service
            LOG.exception("a request could not be answered")
            reply = StatsResponse(status=StatsResponse.EBADR).SerializeToString()
        if reply is not None:
            each.request.reply(reply)

    def stop(self) -> None:
        self._threads.forget(self._thread)
        self._thread.stop()
        self._stopping = True
        self._wanted.set()
        self._thread.join()
        self._news.close()

    def _run(self) -> None:
        with self._engines() as engines:
            while self._wanted.wait() and not self._stopping:
                self._wanted.clear()
                try:
                    self._latest = read_counts(engines)
                finally:  # whoever waits for a look asks for another one
                    self._looking = False
                self._news.rouse()
