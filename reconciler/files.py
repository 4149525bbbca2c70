"""The files that the reconciler leaves for engines: their start-up parameters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from reconciler.shards import MAX_SHARDS
from schema.files import read_text, write_atomically
from schema.loglevel import LEVELS
from schema.model import State
from schema.paths import engine_parameters


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


def known_shards(state_dir: Path) -> list[int]:
    """The engine processes that are to run: those that parameters were left for."""
    return [shard for shard in range(MAX_SHARDS) if engine_parameters(state_dir, shard).exists()]


def left_log_level(state_dir: Path) -> str:
    """The log level that was left for engines; info where none was."""
    try:
        level = json.loads(read_text(engine_parameters(state_dir, 0)))["engine"]["log_level"]
    except (OSError, ValueError, TypeError, KeyError):
        return "info"
    return level if level in LEVELS else "info"


def remembered_homes(state_dir: Path) -> dict[int, int]:
    """Relay id to the shard that it was last to be on; what can't be read is not remembered."""
    homes: dict[int, int] = {}
    for shard in reversed(known_shards(state_dir)):
        try:
            value = json.loads(read_text(engine_parameters(state_dir, shard)))
            homes |= {int(id_): shard for id_ in value.get("relays", ())}
        except (OSError, ValueError, TypeError, AttributeError):
            continue
    return homes


def forget_shard(state_dir: Path, shard: int) -> None:
    """The engine process is no longer to run: whoever starts engines ends it. Raises OSError."""
    engine_parameters(state_dir, shard).unlink(missing_ok=True)
