"""What has to be there before an engine starts: hugepages, and the parameters that are left for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from reconciler.host.refusal import HostRefused, SpecUnfit
from reconciler.memory.memory import HostMounts
from reconciler.observe.engine_files import forget_shard, known_shards, write_engine_parameters
from reconciler.observe.snapshot import HostSnapshot
from reconciler.planning.host_plan import needed, shard_targets
from reconciler.resources.host_memory import readied
from schema.model import State

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

    def prepare(self, target: State, mounts: HostMounts, snapshot: HostSnapshot) -> str:
        """Readies the host for the engines that this will need, and leaves them their parameters. Gives a sentence
        where it has too little memory for it."""
        try:
            targets = shard_targets(target, snapshot)
            said = ready(mounts, target, snapshot)
            self.leave(targets)
        except SpecUnfit as error:
            self.fault = f"an engine that starts now finds no parameters: {error}"
            return ""
        return said

    def leave(self, targets: Mapping[int, State]) -> None:
        """Before a plan is carried out; what it makes of each engine process."""
        self.fault = leave_parameters(self._state_dir, self._run_dir, targets)

    def forget(self, targets: Mapping[int, State]) -> None:
        """After it was carried out."""
        self.fault = self.fault or forget_unneeded(self._state_dir, self._run_dir, targets)


def ready(mounts: HostMounts, target: State, snapshot: HostSnapshot) -> str:
    """Reserves and mounts what is wanted, unless an engine runs: then that is a matter of its plan. Gives a sentence on
    what was not to be had, which is no reason not to go on: the plan says it again."""
    if snapshot.seen or snapshot.silent:
        return ""
    wrong = []
    for action in readied(target, State(pages=mounts.pages(), mounts=mounts.mounts())):
        try:
            mounts.carry_out(action)
        except HostRefused as objected:
            wrong.append(f"{action.resource}: {objected}")
    return "; ".join(wrong)


def leave_parameters(state_dir: Path, run_dir: Path, targets: Mapping[int, State]) -> str:
    """For every engine process that a plan needs, before it is carried out. Gives a sentence when that failed, which is
    no reason not to carry it out: those that run need none."""
    said = ""
    for shard, target in targets.items():
        if needed(shard, target):
            said = _leave(state_dir, run_dir, target, shard) or said
    return said


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
