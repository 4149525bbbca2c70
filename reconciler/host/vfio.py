"""Binding PCI functions to vfio-pci and giving them back, what they were before remembered in between; and
what speaks against polling, binding or giving back one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from reconciler.host.pci import VFIO_PCI, Facts, Neighbour, Pci
from reconciler.host.refusal import HostRefused, Refusal, kernel_refusals, require
from schema.model import Vf
from schema.rules.host_policy import Policy, in_force
from schema.vf import parse_vf
from state.host_changes import Binding, bindings, forget_binding, remember_binding
from state.store import StoreOnDemand

NO_POLICY = Policy()
UIO = frozenset({"igb_uio", "uio_pci_generic"})
BIFURCATED = frozenset({"mlx4_core", "mlx5_core"})
"""DPDK works beside these drivers of the kernel's; taken from them, the device could not be polled."""
HARMLESS = frozenset({"", VFIO_PCI, "pci-stub", "pcieport"})
"""Drivers under which a neighbour leaves the group usable (vfio.c, vfio_dev_viable)."""
GIVEN_AWAY = frozenset({VFIO_PCI, "pci-stub", "pcieport"})
"""Drivers of functions that the host itself does without."""


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
        require(to_poll(address, self._pci.facts(address), in_force()))

    def refusal(self, address: str, binds: bool) -> Refusal | None:
        """What would stand in the way of polling it; `binds`: it is to be bound before."""
        facts = self._pci.facts(address)
        return (to_bind if binds else to_poll)(address, facts, in_force())

    def bind(self, address: str) -> None:
        """Binds it to vfio-pci. Raises HostRefused; it then is as it was before vio4wd came."""
        facts = self._pci.facts(address)
        require(to_bind(address, facts, in_force()))
        assert facts is not None
        remember_binding(self._store, Binding(address, facts.driver, facts.override))
        if facts.driver == VFIO_PCI:
            return
        try:
            with kernel_refusals(f"{address} can't be bound to vfio-pci"):
                self._take(address)
        except HostRefused:
            with contextlib.suppress(OSError):
                self._put_back(bindings(self._store)[address])
            forget_binding(self._store, address)
            raise

    def _take(self, address: str) -> None:
        """Loading a module and writing things down take a while: whether the host uses it is asked again after them."""
        self._pci.load_vfio()
        self._pci.set_override(address, VFIO_PCI)
        require(to_bind(address, self._pci.facts(address), in_force()))
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
            require(to_give_back(facts, self._pci.busy(facts.group)))
            with kernel_refusals(f"{address} can't be given back"):
                self._put_back(before)
        forget_binding(self._store, address)


def _ours(facts: Facts, before: Binding) -> bool:
    """Whether it is as vio4wd leaves it, also where it was killed on its way there or back; else it is somebody
    else's by now, or was bound already."""
    if facts.driver == VFIO_PCI or before.driver == VFIO_PCI:
        return before.driver != VFIO_PCI
    return facts.driver in ("", before.driver) and facts.override in (VFIO_PCI, before.override)


def absent(address: str) -> Refusal:
    """It may come: a PF's sriov_numvfs is set late, a device is plugged in."""
    return Refusal(
        "no-device",
        f"this host has no PCI function {address}; it is used as soon as it appears. Check the address with lspci -D, "
        "and whether the PF's sriov_numvfs is set",
    )


def to_poll(address: str, facts: Facts | None, policy: Policy = NO_POLICY) -> Refusal | None:
    """What stands in the way of DPDK's using it."""
    if facts is None:
        return absent(address)
    if facts.driver in UIO | BIFURCATED:
        return None
    if facts.driver != VFIO_PCI:
        return Refusal("failed", _not_bound(facts, policy))
    return _group(facts)


def to_bind(address: str, facts: Facts | None, policy: Policy = NO_POLICY) -> Refusal | None:
    """What stands in the way of binding it to vfio-pci."""
    if facts is None:
        return absent(address)
    if not facts.network:
        return Refusal("failed", f"{_no_network_device(facts)}; take it out of the spec")
    if facts.driver in BIFURCATED:
        message = f"{address} is polled beside its driver {facts.driver} and must stay with it; remove bind: true"
        return Refusal("failed", message)
    if facts.driver == VFIO_PCI:
        return None
    if not facts.virtual and not _allows(policy, facts):
        message = f"{address} is a physical function that may not be bound; {policy.words} (pfs)"
        return Refusal("failed", message)
    if facts.used:
        return Refusal("in-use", _used(address, facts.used))
    return _unfit_group(facts)


def _allows(policy: Policy, facts: Facts) -> bool:
    """A policy that can't be used may have had a list."""
    if policy.problems:
        return False
    return policy.pfs is None or any(_names(pf, facts) for pf in policy.pfs)


def _names(pf: str, facts: Facts) -> bool:
    try:
        return parse_vf(pf).name == facts.address
    except ValueError:
        return pf in facts.interfaces


def _no_network_device(facts: Facts) -> str:
    kind = f"its PCI class is {facts.class_code}" if facts.class_code else "the kernel does not tell its PCI class"
    driver = f", its driver {facts.driver}" if facts.driver else ""
    return f"{facts.address} is not known to be a network device ({kind}{driver}), and vio4wd binds nothing else"


def _used(address: str, clauses: Sequence[str]) -> str:
    return (
        f"{address} is in use by this host: {'; '.join(clauses)}. Taking it away could cut the host off, so it is not "
        "bound. If it is meant, end that first; else name another function"
    )


def _unfit_group(facts: Facts) -> Refusal | None:
    """VFIO takes an IOMMU group as a whole, so nothing in it may be what the host needs."""
    for other in facts.neighbours:
        shares = f"{facts.address} shares IOMMU group {facts.group} with {other.address}"
        whole = "VFIO takes a group only whole: use another function, or put the card into another slot"
        if not other.bridge and not other.network and other.driver not in GIVEN_AWAY:
            driver = f" (driver {other.driver})" if other.driver else ""
            return Refusal("failed", f"{shares}{driver}, which is no network device. {whole}")
        if other.used and other.driver != VFIO_PCI:
            return Refusal("in-use", f"{shares}, which is in use by this host: {'; '.join(other.used)}. {whole}")
    return None


def to_give_back(facts: Facts, busy: bool) -> Refusal | None:
    """What stands in the way of giving it back: unbinding a function that somebody uses would wait for him."""
    if facts.driver == VFIO_PCI and busy:
        return Refusal(
            "in-use",
            f"{facts.address}, or another function of its IOMMU group {facts.group}, is in use through vfio-pci; it is "
            "given back when that ends",
        )
    return None


def _not_bound(facts: Facts, policy: Policy) -> str:
    """Binding is proposed only where it would be done."""
    has = f"is bound to the driver {facts.driver}" if facts.driver else "has no driver"
    why = f"{facts.address} {has}, and DPDK polls it through vfio-pci"
    refusal = to_bind(facts.address, facts, policy)
    if refusal is not None:
        return f"{why}, to which it is not to be bound: {refusal.message}"
    return f"{why}: write bind: true in its relay, or run: driverctl set-override {facts.address} vfio-pci"


def _group(facts: Facts) -> Refusal | None:
    if not facts.group:
        return Refusal(
            "failed",
            f"{facts.address} is in no IOMMU group: switch the IOMMU on in the firmware and on the kernel's command "
            "line (intel_iommu=on, amd_iommu=on), or allow vfio to work without: "
            "echo Y > /sys/module/vfio/parameters/enable_unsafe_noiommu_mode",
        )
    others = [n for n in facts.neighbours if not n.bridge and n.driver not in HARMLESS]
    if others:
        names = " and ".join(f"{n.address} (driver {n.driver})" for n in others)
        bind = f"Bind {'it' if len(others) == 1 else 'them'} to vfio-pci too, or put" if _free(others) else "Put"
        return Refusal(
            "failed",
            f"{facts.address} shares IOMMU group {facts.group} with {names}: the group can only be used whole. {bind} "
            "the card into another slot",
        )
    if facts.lacking:
        return Refusal(
            "failed",
            f"{facts.address} needs {' and '.join(facts.lacking)}, which {'is' if len(facts.lacking) == 1 else 'are'} "
            "missing or not open to this user: load vfio-pci (modprobe vfio-pci), and run as root or give access",
        )
    return None


def _free(others: Iterable[Neighbour]) -> bool:
    """Whether the host would not miss them: only then are they proposed for binding."""
    return all(other.network and not other.used and other.driver not in BIFURCATED for other in others)
