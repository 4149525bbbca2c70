"""An engine together with its host: VFs are bound and given back here, and looked at before a port is added; hugepages
are reserved and mounted."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from engine.api.client import EngineClient, EngineError, Observation
from reconciler.host.refusal import HostRefused, PlanProblem
from reconciler.host.vfio import HostVfs
from reconciler.memory.memory import HostMounts
from schema.model import Action, Kind, Pin, Port, Verb, Vf
from schema.vf import pci_functions


class HostEngine(EngineClient):
    """Observes and executes as an engine's client does; what concerns the host it does itself: VFs for each engine,
    hugepages and their mounts for all of them with the first one."""

    def __init__(self, run_dir: Path, vfs: HostVfs, mounts: HostMounts, shard: int = 0) -> None:
        super().__init__(run_dir, shard)
        self._vfs = vfs
        self._mounts = mounts if shard == 0 else None

    def observe(self) -> Observation:
        seen = super().observe()
        state = replace(seen.state, vfs=self._vfs.bound())
        if self._mounts is not None:
            state = replace(state, pages=self._mounts.pages(), mounts=self._mounts.mounts())
        return replace(seen, state=state)

    def execute(self, action: Action, boot_id: str, generation: int, pin: Pin | None = None) -> tuple[int, int]:
        """As the engine's; what is done on the host is no action of the engine's, so the generation stays."""
        try:
            if action.kind in (Kind.VF, Kind.PAGES, Kind.MOUNT):
                began = time.monotonic_ns()
                self._carry_out(action)
                return generation, (time.monotonic_ns() - began) // 1000
            for address in _to_attach(action):
                self._vfs.require_pollable(address)
        except HostRefused as objected:
            raise EngineError(objected.objection.code, objected.objection.message) from objected
        return super().execute(action, boot_id, generation, pin)

    def _carry_out(self, action: Action) -> None:
        if action.kind is not Kind.VF:
            assert self._mounts is not None, "the plan has these for the first engine only"
            self._mounts.carry_out(action)
            return
        address = str(action.key)
        if action.verb is Verb.REMOVE:
            self._vfs.give_back(address)
        else:
            self._vfs.bind(address)


def _to_attach(action: Action) -> Iterable[str]:
    """The functions that this action makes the engine attach."""
    if not isinstance(action.after, Port):
        return ()
    before = pci_functions(action.before) if action.verb is Verb.UPDATE and isinstance(action.before, Port) else []
    return [address for address in pci_functions(action.after) if address not in before]


def objections(holders: Mapping[str, int], actions: Iterable[Action], vfs: HostVfs) -> list[PlanProblem]:
    """What on this host will keep a plan's ports from being added, and functions from being bound, as it is now.
    `holders`: which relay is to have which port."""
    todo = list(actions)
    binds = [str(action.key) for action in todo if isinstance(action.after, Vf)]
    attaches = [(address, str(action.key)) for action in todo for address in _to_attach(action)]
    named = {port: f"relay:{id_}" for port, id_ in holders.items()}
    wanted = {address: named.get(port, f"port:{port}") for address, port in attaches}
    wanted |= {address: f"vf:{address}" for address in binds if address not in wanted}
    found = ((who, vfs.objection(address, address in binds)) for address, who in wanted.items())
    return [PlanProblem(who, objection.message) for who, objection in found if objection is not None]
