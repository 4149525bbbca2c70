"""What the watch loop says about itself, in `watch.json` under the run directory, for `vio4wd status`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from reconciler.apply.history import LastApply
from reconciler.desired.spec_in_force import InForce, RefusedSpec
from reconciler.policy.removal_guards import HeldBack
from reconciler.status.transitions import Standings, counted
from schema.system.files import read_text, write_atomically

FILE = "watch.json"


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
    threads: dict[str, str] = field(default_factory=dict)
    """What of the watch failed and is started again: its name to what happened, as a sentence."""
    waiting: tuple[str, ...] = ()
    """What would be done if it were not paused."""
    standings: Standings = field(default_factory=dict)
    """How each relay stands, and since when."""
    drift: tuple[str, ...] = ()
    """What would set right what somebody changed, where the spec says that this is only to be reported."""
    instead: str = ""
    """Why it is not the spec that is kept up, but what was before it; empty: it is the spec."""
    held: tuple[dict[str, str], ...] = ()
    """What a guard holds back, as in a plan."""
    defaults: bool = False
    """Whether the file is virtio-forwarder's."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def write_report(run_dir: Path, report: Report) -> None:
    """Raises OSError."""
    write_atomically(run_dir / FILE, json.dumps(report.to_json(), indent=1) + "\n", 0o644, durable=False)


def read_report(run_dir: Path) -> dict[str, Any] | None:
    """The latest report, also of a watch that is gone; None when there is none."""
    try:
        value = json.loads(read_text(run_dir / FILE))
    except (OSError, ValueError, RecursionError):
        return None
    return value if _is_report(value) else None


def _is_report(value: object) -> bool:
    """Whether it has the shape that `write_report` gives it. What another release or a damaged disk has left says
    nothing."""
    example = Report(0, "", 0.0)
    return (
        isinstance(value, dict)
        and {"pid", "file", "started"} <= value.keys()
        and all(_like(value[f.name], getattr(example, f.name)) for f in fields(Report) if f.name in value)
        and all(value.get(name) is None or _has(value[name], names) for name, names in PARTS.items())
        and all(_has(each, HELD) for each in value.get("held", ()))
        and all(_has(each, STANDING) for each in value.get("standings", {}).values())
        and all(isinstance(each["since"], int | float) for each in value.get("standings", {}).values())
    )


def _like(value: object, example: object) -> bool:
    match example:
        case None:
            return value is None or isinstance(value, dict | int | float)
        case tuple():
            return isinstance(value, list)
        case float():
            return isinstance(value, int | float)
    return isinstance(value, type(example))


def _has(value: object, names: frozenset[str]) -> bool:
    return isinstance(value, dict) and names <= value.keys()


PARTS = {
    name: frozenset(each.name for each in fields(kind))
    for name, kind in (("in_force", InForce), ("refused", RefusedSpec), ("last_apply", LastApply))
}
"""What is nested in a report, with its parts."""
STANDING = frozenset(("condition", "message", "since"))
HELD = frozenset(each.name for each in fields(HeldBack))


def in_a_line(report: Report, refused: bool, paused: str) -> str:
    """How it goes, for a service manager. `paused` says by whom; empty: by nobody."""
    parts = [counted(report.standings)]
    parts += [f"engine {report.engine}"] if report.engine != "ready" else []
    parts += [f"paused {paused}"] if paused else []
    parts += ["what stands in the file is refused"] if refused else []
    parts += ["drift is left as it is"] if report.drift else []
    return "; ".join(parts)
