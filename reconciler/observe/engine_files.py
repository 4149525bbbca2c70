"""The files that the reconciler leaves for engines, their start-up parameters: in the state directory, or while that
can't be written, in the run directory. Where both have some, those in the run directory are newer."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from schema.model import MAX_SHARDS, State
from schema.paths import engine_parameters
from schema.system.files import read_text, write_atomically
from schema.system.logs import LEVELS


def write_engine_parameters(state_dir: Path, target: State, shard: int = 0) -> None:
    """Leaves the start-up parameters for the engine that starts next. Raises OSError."""
    path = engine_parameters(state_dir, shard)
    text = json.dumps(_parameters(target), indent=2) + "\n"
    try:
        if read_text(path) == text and not path.stat().st_mode & 0o077:
            return
    except (OSError, UnicodeDecodeError):
        pass  # missing or unreadable: it is written anew
    write_atomically(path, text)


def _parameters(target: State) -> dict[str, Any]:
    hugepages = any(pages.total for pages in target.pages.values())
    state = State(engine=target.engine, workers=target.workers).to_json()
    what = {"engine": state["engine"][0], "workers": state["worker"], "hugepages": hugepages}
    return {**what, "relays": sorted(target.relays)}


def known_shards(*directories: Path) -> list[int]:
    """The engine processes that are to run: those that parameters were left for in one of these directories."""
    return [shard for shard in range(MAX_SHARDS) if any(engine_parameters(d, shard).exists() for d in directories)]


def _left(directories: Iterable[Path], shard: int) -> dict[str, Any]:
    """What the first of these directories has that can be read; nothing where none has."""
    for directory in directories:
        with contextlib.suppress(OSError, ValueError, RecursionError):
            value = json.loads(read_text(engine_parameters(directory, shard)))
            if isinstance(value, dict):
                return value
    return {}


def left_log_level(*directories: Path) -> str:
    """The log level that was left for engines, by the first of these directories that can be read; info where none
    was."""
    engine = _left(directories, 0).get("engine")
    level = engine.get("log_level") if isinstance(engine, dict) else None
    return level if level in LEVELS else "info"


def remembered_homes(*directories: Path) -> dict[int, int]:
    """Relay id to the shard that it was last to be on, by the first of these directories that can be read; what can't
    be is not remembered."""
    homes: dict[int, int] = {}
    for shard in reversed(known_shards(*directories)):
        relays = _left(directories, shard).get("relays")
        homes |= {id_: shard for id_ in relays if type(id_) is int} if isinstance(relays, list) else {}
    return homes


def forget_shard(directory: Path, shard: int) -> None:
    """The engine process is no longer to run, or its parameters are elsewhere: whoever starts engines ends one that has
    none left. Raises OSError."""
    engine_parameters(directory, shard).unlink(missing_ok=True)
