"""What the watch loop says about itself: to `vio4wd status` in `watch.json` under the run directory, and to a service
manager."""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from reconciler.apply.history import LastApply
from reconciler.desired.spec_in_force import InForce, RefusedSpec
from reconciler.policy.removal_guards import HeldBack
from schema.system.files import read_text, write_atomically
from schema.system.typed_json import decoded
from schema.wire.notify import Notifier
from state.record import OTHER_SHAPE

FILE = "watch.json"
READY_WITHIN_S = 60.0
"""A host's boot must not hang on an engine that does not come: then the status says so, and the loop goes on."""


class Condition(enum.StrEnum):
    READY = "Ready"
    """Packets can pass both ways."""
    PENDING = "Pending"
    """Not live yet, or no guest is there: nothing is broken."""
    DEGRADED = "Degraded"
    """Live, but something is broken."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a relay stands."""

    condition: str
    """A `Condition`; a newer release may know others."""
    message: str
    since: float
    """Seconds since 1970."""


Standings = Mapping[int, Standing]
"""By relay id."""


@dataclass(frozen=True, slots=True)
class Report:
    """All of it."""

    pid: int
    file: str
    started: float
    in_force: InForce | None = None
    refused: RefusedSpec | None = None
    last_apply: LastApply | None = None
    next_retry: float | None = None
    engine: str = "absent"
    """`absent`, `starting` or `ready`, when it was last looked at."""
    faults: tuple[str, ...] = ()
    threads: Mapping[str, str] = field(default_factory=dict)
    """What of the watch failed and is started again: its name to what happened, as a sentence."""
    waiting: tuple[str, ...] = ()
    """What would be done if it were not paused."""
    standings: Mapping[int, Standing] = field(default_factory=dict)
    """How each relay stands, by its id."""
    drift: tuple[str, ...] = ()
    """What would set right what somebody changed, where the spec says that this is only to be reported."""
    instead: str = ""
    """Why it is not the spec that is kept up, but what was before it; empty: it is the spec."""
    held_back: tuple[HeldBack, ...] = ()
    """What a guard holds back, as in a plan."""
    defaults: bool = False
    """Whether the file is virtio-forwarder's."""

    def to_json(self) -> dict[str, Any]:
        return {JSON_NAMES.get(name, name): value for name, value in asdict(self).items()}


JSON_NAMES = {"held_back": "held"}
"""Keys that are not called as the fields are."""


def write_report(run_dir: Path, report: Report) -> None:
    """Raises OSError."""
    write_atomically(run_dir / FILE, json.dumps(report.to_json(), indent=1) + "\n", 0o644, durable=False)


def read_report(run_dir: Path) -> Report | None:
    """The latest report, also of a watch that is gone; None when there is none. What a damaged disk or another program
    has left says nothing."""
    try:
        value = json.loads(read_text(run_dir / FILE))
        return decoded(Report, value | {name: value[key] for name, key in JSON_NAMES.items() if key in value})
    except (OSError, *OTHER_SHAPE):
        return None


class ServiceStatus:
    """Tells a service manager when the loop is ready, reloads and lives. Told what happens, with `now` in seconds of a
    steady clock."""

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


def counted(found: Standings) -> str:
    """How many stand how, in a few words: `3 Ready, 1 Degraded`."""
    words = [standing.condition for standing in found.values()]
    parts = [f"{words.count(each)} {each}" for each in Condition if each.value in words]
    return ", ".join(parts) or "no relays"
