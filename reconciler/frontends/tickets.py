"""Between the frontends, which wait for an answer, and the loop, which does what they asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from schema.system.descriptors import Wakeup


@dataclass(frozen=True, slots=True)
class Completed:
    """What became of everything that was asked for up to a ticket."""

    ticket: int = 0
    failed: Mapping[int, str] = field(default_factory=dict)
    """Relay to why it can't be made; one that merely waits for something is not in here."""


class Tickets:
    """Tickets for what was asked for, in order. Its methods may be called from any thread."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """`wake` has the loop read what is wanted, soon."""
        self._wake = wake
        self._lock = threading.Lock()
        self._asked = 0
        self._completed = Completed()
        self._news = Wakeup()

    def ask(self) -> int:
        """A ticket for what was recorded just now; it is completed once the loop has seen to it."""
        with self._lock:
            self._asked += 1
            ticket = self._asked
        self._wake()
        return ticket

    def rouse(self) -> None:
        """Has the loop look at what is new here, a fault for example."""
        self._wake()

    def asked(self) -> int:
        """The latest ticket: the loop asks before it reads what is wanted."""
        with self._lock:
            return self._asked

    def complete(self, ticket: int, failed: Mapping[int, str]) -> None:
        """The loop has seen to everything up to this ticket."""
        with self._lock:
            self._completed = Completed(ticket, MappingProxyType(dict(failed)))
        self._news.rouse()

    def latest(self) -> Completed:
        with self._lock:
            return self._completed

    def fileno(self) -> int:
        """Readable when something was completed."""
        return self._news.fileno()

    def heard(self) -> None:
        """Not readable any more, until there is more."""
        self._news.taken()

    def close(self) -> None:
        self._news.close()
