"""What the watch loop says about itself, in `watch.json` under the run directory, for `vio4wd status`."""

from __future__ import annotations

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
from state.record import OTHER_SHAPE

FILE = "watch.json"


@dataclass(frozen=True, slots=True)
class Standing:
    """How a relay stands."""

    condition: str
    """A `Condition`; a newer release may know others."""
    message: str
    since: float
    """Seconds since 1970."""


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
