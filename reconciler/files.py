"""Writes files that are never seen half written, not even after a power cut."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from reconciler.shards import MAX_SHARDS
from schema.loglevel import LEVELS
from schema.model import State
from schema.paths import engine_parameters


def write_atomically(path: Path, text: str, durable: bool = True) -> None:
    """Replaces `path`, or the file that it links to, by one with this text; makes its directory when missing. A device
    or a pipe is written to. Raises OSError.

    `durable=False` is for what means nothing after a power cut, and saves the wait for the disk.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        path.write_text(text, encoding="utf-8")
        return
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            if durable:
                os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    if durable:
        _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    """Without this the new name itself may be lost with the power."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_engine_parameters(state_dir: Path, target: State, shard: int = 0) -> None:
    """Leaves the start-up parameters for the engine that starts next. Raises OSError."""
    path = engine_parameters(state_dir, shard)
    text = json.dumps(_parameters(target), indent=2) + "\n"
    try:
        if path.read_text(encoding="utf-8") == text:
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
        level = json.loads(engine_parameters(state_dir, 0).read_text(encoding="utf-8"))["engine"]["log_level"]
    except (OSError, ValueError, TypeError, KeyError):
        return "info"
    return level if level in LEVELS else "info"


def remembered_homes(state_dir: Path) -> dict[int, int]:
    """Relay id to the shard that it was last to be on; what can't be read is not remembered."""
    homes: dict[int, int] = {}
    for shard in reversed(known_shards(state_dir)):
        try:
            value = json.loads(engine_parameters(state_dir, shard).read_text(encoding="utf-8"))
            homes |= {int(id_): shard for id_ in value.get("relays", ())}
        except (OSError, ValueError, TypeError, AttributeError):
            continue
    return homes


def forget_shard(state_dir: Path, shard: int) -> None:
    """The engine process is no longer to run: whoever starts engines ends it. Raises OSError."""
    engine_parameters(state_dir, shard).unlink(missing_ok=True)
