"""What has to be there before an engine starts: hugepages, and the parameters that are left for it."""

from __future__ import annotations

from pathlib import Path

from reconciler.apply.early_memory import ready
from reconciler.desired.from_spec import SpecUnfit
from reconciler.memory.memory import HostMounts
from reconciler.observe.engines import forget_unneeded, leave_parameters
from reconciler.observe.snapshot import Sighting
from reconciler.planning.host_plan import HostPlan, plan_host
from schema.model import State

EVERY_S = 2.0
"""How often, while no engine is there; one waits 10 s for its parameters (engine/process.py)."""


class Readying:
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

    def prepare(self, target: State, mounts: HostMounts, sighting: Sighting) -> str:
        """Readies the host for the engines that this will need, and leaves them their parameters. Gives a sentence
        where it has too little memory for it."""
        try:
            todo = plan_host(target, sighting)
            said = ready(mounts, target, sighting)
            self.leave(todo)
        except SpecUnfit as error:
            self.fault = f"an engine that starts now finds no parameters: {error}"
            return ""
        return said

    def leave(self, todo: HostPlan) -> None:
        """Before a plan is carried out."""
        self.fault = leave_parameters(self._state_dir, self._run_dir, todo)

    def forget(self, todo: HostPlan) -> None:
        """After a plan was carried out."""
        self.fault = self.fault or forget_unneeded(self._state_dir, self._run_dir, todo)
