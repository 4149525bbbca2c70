"""What the watch loop tells its service manager: that it is ready, how it goes, and that it lives."""

from __future__ import annotations

from reconciler.status.conditions import counted
from reconciler.status.report import Report
from schema.wire.notify import Notifier

READY_WITHIN_S = 60.0
"""A host's boot must not hang on an engine that does not come: then the status says so, and the loop goes on."""


class ServiceStatus:
    """Told what happens, with `now` in seconds of a steady clock."""

    def __init__(self, notifier: Notifier, now: float) -> None:
        self._notifier = notifier
        self._since = now
        """When it began to start, or to reload."""
        self._ready = False
        """False while it starts or reloads."""
        self._reloading = False

    def reconciled(self) -> None:
        """What was started or reloaded has come to an end, one way or the other."""
        self._reloading = False
        if not self._ready:
            self._ready = True
            self._notifier.ready()

    def read(self, nothing: bool) -> None:
        """What is wanted was read, and is no other than before; `nothing`: nothing was ever wanted."""
        if nothing or self._reloading:
            self.reconciled()

    def reloading(self, now: float) -> None:
        """Everything is to be read anew."""
        if self._ready:
            self._ready, self._reloading, self._since = False, True, now
            self._notifier.reloading()

    def beat(self, now: float) -> None:
        """From the loop itself, at every turn."""
        self._notifier.alive(now)
        if now - self._since > READY_WITHIN_S:
            self.reconciled()

    def next_beat(self, now: float) -> float:
        """When `beat` is to come again at the latest."""
        return now + self._notifier.ping_s

    def status(self, text: str) -> None:
        self._notifier.status(text)

    def end(self) -> None:
        self._notifier.stopping()
        self._notifier.close()


def in_a_line(report: Report, refused: bool, paused: str) -> str:
    """How it goes, for a service manager. `paused` says by whom; empty: by nobody."""
    parts = [counted(report.standings)]
    parts += [f"engine {report.engine}"] if report.engine != "ready" else []
    parts += [f"paused {paused}"] if paused else []
    parts += ["what stands in the file is refused"] if refused else []
    parts += ["drift is left as it is"] if report.drift else []
    return "; ".join(parts)
