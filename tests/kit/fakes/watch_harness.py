"""A watch in a thread that steers a fake engine on the real wire, and a spec for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reconciler.watch.controller import Controller
from reconciler.watch.schedule import Timing
from schema.model import Verb
from schema.wire.notify import Notifier
from tests.kit.fakes.fake_engine import FakeEngine, Served
from tests.kit.fakes.table_host import TableHost
from tests.kit.report import report_json

PATIENCE_S = 20.0
"""How long to wait for what must happen; nothing is said about how long it takes."""
NEVER_POLL = Timing(poll_s=3600.0)
"""So that it is inotify that tells, not the slow poll."""


def document(*relays: int, more: str = "") -> str:
    """A spec with these relays; `more` are further lines."""
    lines = "".join(f'  - {{id: {i}, vf: "net_null{i}", cpus: [1]}}\n' for i in relays)
    head = f"apiVersion: vio4wd/v1\nengine: {{worker_cpus: [1, 2]}}\n{more}relays:"
    return head + (f"\n{lines}" if relays else " []\n")


class WatchHarness:
    """A directory with a spec, an engine, and a watch between them."""

    def __init__(self, directory: Path, file: Path) -> None:
        self.file = file
        self.directory = directory
        self.run_dir = directory / "run"
        self.engine = FakeEngine()
        self.host = TableHost()
        self.served: Served
        self.watch: Controller | None = None
        self._thread: threading.Thread | None = None

    def start(self, timing: Timing = NEVER_POLL, notifier: Notifier | None = None, defaults: bool = False) -> None:
        made = threading.Event()

        def live() -> None:
            # Made where it runs: a database connection belongs to one thread.
            self.watch = Controller(
                self.file, self.run_dir, self.directory / "state", self.host, timing, notifier, defaults
            )
            made.set()
            self.watch.run()

        self._thread = threading.Thread(target=live)
        self._thread.start()
        assert made.wait(PATIENCE_S)

    def stop(self) -> None:
        if self.watch is not None and self._thread is not None:
            self.watch.stop()
            self._thread.join()

    def until(self, what: str, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < deadline, f"never came: {what}; {self.report}"
            time.sleep(0.01)

    def until_relays(self, *relays: int) -> None:
        self.until(f"relays {relays}", lambda: set(self.engine.state.relays) == set(relays))

    @property
    def report(self) -> dict[str, Any]:
        """What the watch says of itself; empty before it has said anything."""
        return report_json(self.run_dir)

    def until_refused(self) -> str:
        self.until("a refusal", lambda: bool(self.report.get("refused")))
        return " ".join(self.report["refused"]["problems"])

    @property
    def removed(self) -> list[str]:
        return [action.resource for action in list(self.engine.executed) if action.verb is Verb.REMOVE]
