"""Binding PCI functions to vfio-pci and giving them back, with what they were before remembered in between."""

from __future__ import annotations

import contextlib
from pathlib import Path

from reconciler.host import vfio_checks as check
from reconciler.host.pci import VFIO_PCI, Facts, Pci
from reconciler.host.refusal import HostRefused, Refusal, require, said
from schema.model import Vf
from schema.rules.host_policy import in_force
from state.store import StoreOnDemand
from state.vfio_bindings import Binding, bindings, forget, remember


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
        """Raises HostRefused with the sentence that helps."""
        require(check.to_poll(address, self._pci.facts(address), in_force()))

    def objection(self, address: str, binds: bool) -> Refusal | None:
        """What would stand in the way of polling it; `binds`: it is to be bound before."""
        facts = self._pci.facts(address)
        return (check.to_bind if binds else check.to_poll)(address, facts, in_force())

    def bind(self, address: str) -> None:
        """Binds it to vfio-pci. Raises HostRefused; it then is as it was before vio4wd came."""
        facts = self._pci.facts(address)
        require(check.to_bind(address, facts, in_force()))
        assert facts is not None
        remember(self._store, Binding(address, facts.driver, facts.override))
        if facts.driver == VFIO_PCI:
            return
        try:
            with said(f"{address} can't be bound to vfio-pci"):
                self._take(address)
        except HostRefused:
            with contextlib.suppress(OSError):
                self._put_back(bindings(self._store)[address])
            forget(self._store, address)
            raise

    def _take(self, address: str) -> None:
        """Loading a module and writing things down take a while: whether the host uses it is asked again after them."""
        self._pci.load_vfio()
        self._pci.set_override(address, VFIO_PCI)
        require(check.to_bind(address, self._pci.facts(address), in_force()))
        self._pci.unbind(address)
        self._pci.probe(address)
        if self._pci.driver(address) != VFIO_PCI:
            message = f"{address}: the driver vfio-pci did not take it; the kernel's log says why (dmesg)"
            raise HostRefused(Refusal("failed", message))

    def _put_back(self, before: Binding) -> None:
        """Raises OSError."""
        self._pci.set_override(before.address, before.override)
        if self._pci.driver(before.address) == VFIO_PCI:
            self._pci.unbind(before.address)
        if before.driver and not self._pci.driver(before.address):
            self._pci.probe(before.address)

    def give_back(self, address: str) -> None:
        """Gives it to the driver that it had. Raises HostRefused when somebody uses it."""
        facts, before = self._pci.facts(address), bindings(self._store).get(address)
        if facts is not None and before is not None and _ours(facts, before):
            require(check.to_give_back(facts, self._pci.busy(facts.group)))
            with said(f"{address} can't be given back"):
                self._put_back(before)
        forget(self._store, address)


def _ours(facts: Facts, before: Binding) -> bool:
    """Whether it is as vio4wd leaves it, also where it was killed on its way there or back; else it is somebody
    else's by now, or was bound already."""
    if facts.driver == VFIO_PCI or before.driver == VFIO_PCI:
        return before.driver != VFIO_PCI
    return facts.driver in ("", before.driver) and facts.override in (VFIO_PCI, before.override)
