"""Binding PCI functions to vfio-pci and giving them back, with what they were before remembered in between."""

from __future__ import annotations

import contextlib
from pathlib import Path

from reconciler.objection import Objected, Objection, require, said
from reconciler.vfs import check
from reconciler.vfs.pci import VFIO_PCI, Facts, Pci
from schema.model import Vf
from state.bindings import Binding, bindings, forget, remember
from state.store import StoreOnDemand


class HostVfs(StoreOnDemand):
    """The PCI functions that vio4wd has bound on this host."""

    def __init__(self, state_dir: Path, pci: Pci | None = None) -> None:
        super().__init__(state_dir)
        self._pci = pci or Pci()

    def bound(self) -> dict[str, Vf]:
        """Those that were bound and are here, with the driver that each has now."""
        known = [address for address in bindings(self._store) if self._pci.device(address).exists()]
        return {address: Vf(address, self._pci.driver(address)) for address in known}

    def require_pollable(self, address: str) -> None:
        """Raises Objected with the sentence that helps."""
        require(check.to_poll(address, self._pci.facts(address)))

    def objection(self, address: str, binds: bool) -> Objection | None:
        """What would stand in the way of polling it; `binds`: it is to be bound before."""
        facts = self._pci.facts(address)
        return check.to_bind(address, facts) if binds else check.to_poll(address, facts)

    def bind(self, address: str) -> None:
        """Binds it to vfio-pci. Raises Objected; it then is as it was."""
        facts = self._pci.facts(address)
        require(check.to_bind(address, facts))
        assert facts is not None
        remember(self._store, Binding(address, facts.driver, facts.override))
        if facts.driver == VFIO_PCI:
            return
        try:
            with said(f"{address} can't be bound to vfio-pci"):
                self._take(facts)
        except Objected:
            self._put_back(facts)
            raise

    def _take(self, facts: Facts) -> None:
        self._pci.load_vfio()
        self._pci.set_override(facts.address, VFIO_PCI)
        self._pci.unbind(facts.address)
        self._pci.probe(facts.address)
        if self._pci.driver(facts.address) != VFIO_PCI:
            message = f"{facts.address}: the driver vfio-pci did not take it; the kernel's log says why (dmesg)"
            raise Objected(Objection("failed", message))

    def _put_back(self, facts: Facts) -> None:
        with contextlib.suppress(OSError):
            self._pci.set_override(facts.address, facts.override)
            if facts.driver and not self._pci.driver(facts.address):
                self._pci.probe(facts.address)
        forget(self._store, facts.address)

    def give_back(self, address: str) -> None:
        """Gives it to the driver that it had. Raises Objected when somebody uses it."""
        facts, before = self._pci.facts(address), bindings(self._store).get(address)
        if facts is None or before is None or facts.driver != VFIO_PCI or before.driver == VFIO_PCI:
            # Gone, somebody else's by now, or as it was.
            forget(self._store, address)
            return
        require(check.to_give_back(facts, self._pci.busy(facts.group)))
        with said(f"{address} can't be given back"):
            self._pci.set_override(address, before.override)
            self._pci.unbind(address)
            if before.driver:
                self._pci.probe(address)
        forget(self._store, address)
