"""Whether the watch loop is paused: a file in the state directory, so that it outlives the loop and a reboot."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from schema.system.files import read_text, set_aside, write_atomically
from state.record import OTHER_SHAPE

FILE = "paused.json"


@dataclass(frozen=True, slots=True)
class Pause:
    """Who paused it, why, and since when, in seconds since 1970."""

    who: str
    reason: str
    since: float


def pause_file(state_dir: Path) -> Path:
    """Where the pause stands while there is one."""
    return state_dir / FILE


def read_pause(state_dir: Path) -> Pause | None:
    """None when it is not paused. A file that can't be read is a pause all the same: somebody wanted one."""
    path = pause_file(state_dir)
    try:
        value = json.loads(read_text(path))
        return Pause(str(value["who"]), str(value["reason"]), float(value["since"]))
    except FileNotFoundError:
        return None
    except (OSError, *OTHER_SHAPE) as error:
        return Pause("somebody", f"{path} can't be read ({error})", _changed(path))


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return time.time()


def put_pause(state_dir: Path, who: str, reason: str) -> Pause:
    """Pauses; who is paused already stays so since then. Raises OSError."""
    before = read_pause(state_dir)
    pause = Pause(who, reason, before.since if before is not None else time.time())
    write_atomically(pause_file(state_dir), json.dumps(asdict(pause)) + "\n")
    return pause


def end_pause(state_dir: Path) -> Pause | None:
    """Ends the pause, and gives it. Raises OSError."""
    before = read_pause(state_dir)
    if pause_file(state_dir).is_dir():
        set_aside(pause_file(state_dir))
    pause_file(state_dir).unlink(missing_ok=True)
    return before
