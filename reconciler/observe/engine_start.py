"""What has to be there before an engine starts: hugepages, and the parameters that are left for it. Those are in the
state directory, or while that can't be written, in the run directory: where both have some, these are newer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reconciler.host.hugepages import HostMounts
from reconciler.host.refusal import HostRefused
from reconciler.observe.actions import readied
from reconciler.observe.engines import HostSnapshot, known_shards, read_parameters
from schema.model import State
from schema.paths import engine_parameters
from schema.system.files import read_text, write_atomically
from schema.system.logs import LEVELS

EVERY_S = 2.0
"""How often, while no engine is there; one waits 10 s for its parameters (engine/process.py)."""


class EngineStart:
    """`fault` says what kept parameters from being left for engines; empty when nothing did."""

    def __init__(self, run_dir: Path, state_dir: Path) -> None:
        self._run_dir = run_dir
        self._state_dir = state_dir
        self._again_at = 0.0
        self.fault = ""

    def due(self, now: float) -> bool:
        """Whether, with no engine there, it is time to look again: they could not be left, or were lost or damaged
        since. `now` in seconds of a steady clock."""
        if now < self._again_at:
            return False
        self._again_at = now + EVERY_S
        return True

    def leave(self, targets: Mapping[int, State]) -> None:
        """Before a plan is carried out; what it makes of each engine process."""
        self.fault = leave_parameters(self._state_dir, self._run_dir, targets)

    def forget(self, targets: Mapping[int, State]) -> None:
        """After it was carried out."""
        self.fault = self.fault or forget_unneeded(self._state_dir, self._run_dir, targets)


def ready(mounts: HostMounts, target: State, snapshot: HostSnapshot) -> str:
    """Reserves and mounts what is wanted, unless an engine runs: then that is a matter of its plan. Gives a sentence on
    what is missing, which is no reason not to go on: the plan says it again."""
    if snapshot.observations or snapshot.silent:
        return ""
    wrong = []
    for action in readied(target, State(pages=mounts.pages(), mounts=mounts.mounts())):
        try:
            mounts.carry_out(action)
        except HostRefused as refused:
            wrong.append(f"{action.resource}: {refused}")
    return "; ".join(wrong)


def leave_parameters(state_dir: Path, run_dir: Path, targets: Mapping[int, State]) -> str:
    """For every engine process that a plan needs, before it is carried out. Gives a sentence when that failed, which is
    no reason not to carry it out: those that run need none."""
    fault = ""
    for shard, target in targets.items():
        if needed(shard, target):
            fault = _leave(state_dir, run_dir, target, shard) or fault
    return fault


def _leave(state_dir: Path, run_dir: Path, target: State, shard: int) -> str:
    try:
        write_engine_parameters(state_dir, target, shard)
        if run_dir != state_dir:
            forget_shard(run_dir, shard)
        return ""
    except OSError as error:
        cannot = _unwritable(state_dir, error)
    try:
        write_engine_parameters(run_dir, target, shard)
        return f"what engines start with is kept in {run_dir} only, and lost with the host's next start: {cannot}"
    except OSError:
        return f"an engine that starts now does so with old parameters, or none: {cannot}"


def forget_unneeded(state_dir: Path, run_dir: Path, targets: Mapping[int, State]) -> str:
    """Lets engine processes end that a plan left without relays; to be called once it is applied. Gives a sentence
    when that failed."""
    try:
        for shard in known_shards(state_dir, run_dir):
            if shard not in targets or not needed(shard, targets[shard]):
                forget_shard(run_dir, shard)
                forget_shard(state_dir, shard)
    except OSError as error:
        return f"an engine that is not needed any more goes on: {_unwritable(state_dir, error)}"
    return ""


def _unwritable(state_dir: Path, error: OSError) -> str:
    return f"{state_dir} can't be written ({error.strerror}); give it space and write permission"


def needed(shard: int, target: State) -> bool:
    """Whether the process is to go on: the first always is."""
    return shard == 0 or bool(target.relays or target.sockets)


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


def left_log_level(*directories: Path) -> str:
    """The log level that was left for engines, by the first of these directories that can be read; info where none
    was."""
    engine = read_parameters(directories, 0).get("engine")
    level = engine.get("log_level") if isinstance(engine, dict) else None
    return level if level in LEVELS else "info"


def forget_shard(directory: Path, shard: int) -> None:
    """The engine process is no longer to run, or its parameters are elsewhere: whoever starts engines ends one that has
    none left. Raises OSError."""
    engine_parameters(directory, shard).unlink(missing_ok=True)
