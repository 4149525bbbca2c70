"""Whether a PCI function can be polled or bound as it is now; if not, what is wrong and what to do: pure."""

from __future__ import annotations

from reconciler.objection import Objection
from reconciler.vfs.pci import VFIO_PCI, Facts

UIO = frozenset({"igb_uio", "uio_pci_generic"})
BIFURCATED = frozenset({"mlx4_core", "mlx5_core"})
"""DPDK works beside these drivers of the kernel's; taken from them, the device could not be polled."""
HARMLESS = frozenset({"", VFIO_PCI, "pci-stub", "pcieport"})
"""Drivers under which a neighbour leaves the group usable (vfio.c, vfio_dev_viable)."""


def absent(address: str) -> Objection:
    """It may come: a PF's sriov_numvfs is set late, a device is plugged in."""
    return Objection(
        "no-device",
        f"this host has no PCI function {address}; it is used as soon as it appears. Check the address with lspci -D, "
        "and whether the PF's sriov_numvfs is set",
    )


def to_poll(address: str, facts: Facts | None) -> Objection | None:
    """What stands in the way of DPDK's using it."""
    if facts is None:
        return absent(address)
    if facts.driver in UIO | BIFURCATED:
        return None
    if facts.driver != VFIO_PCI:
        return Objection("failed", _not_bound(facts))
    return _group(facts)


def to_bind(address: str, facts: Facts | None) -> Objection | None:
    """What stands in the way of binding it to vfio-pci."""
    if facts is None:
        return absent(address)
    if facts.driver in BIFURCATED:
        message = f"{address} is polled beside its driver {facts.driver} and must stay with it; remove bind: true"
        return Objection("failed", message)
    if facts.interfaces_up and not facts.virtual:
        names = ", ".join(facts.interfaces_up)
        return Objection(
            "in-use",
            f"{address} is no VF, and its interface {names} is up: taking it could cut this host off. If it is meant, "
            f"first: ip link set {facts.interfaces_up[0]} down",
        )
    return None


def to_give_back(facts: Facts, busy: bool) -> Objection | None:
    """What stands in the way of giving it back: unbinding a function that somebody uses would wait for him."""
    if facts.driver == VFIO_PCI and busy:
        return Objection(
            "in-use",
            f"{facts.address}, or another function of its IOMMU group {facts.group}, is in use through vfio-pci; it is "
            "given back when that ends",
        )
    return None


def _not_bound(facts: Facts) -> str:
    has = f"is bound to the driver {facts.driver}" if facts.driver else "has no driver"
    return (
        f"{facts.address} {has}, and DPDK polls it through vfio-pci: write bind: true in its relay, or run: "
        f"driverctl set-override {facts.address} vfio-pci"
    )


def _group(facts: Facts) -> Objection | None:
    if not facts.group:
        return Objection(
            "failed",
            f"{facts.address} is in no IOMMU group: switch the IOMMU on in the firmware and on the kernel's command "
            "line (intel_iommu=on, amd_iommu=on), or allow vfio to work without: "
            "echo Y > /sys/module/vfio/parameters/enable_unsafe_noiommu_mode",
        )
    others = [n for n in facts.neighbours if not n.bridge and n.driver not in HARMLESS]
    if others:
        names = " and ".join(f"{n.address} (driver {n.driver})" for n in others)
        return Objection(
            "failed",
            f"{facts.address} shares IOMMU group {facts.group} with {names}: the group can only be used whole. Bind "
            f"{'it' if len(others) == 1 else 'them'} to vfio-pci too, or put the card into another slot",
        )
    if facts.lacking:
        return Objection(
            "failed",
            f"{facts.address} needs {' and '.join(facts.lacking)}, which {'is' if len(facts.lacking) == 1 else 'are'} "
            "missing or not open to this user: load vfio-pci (modprobe vfio-pci), and run as root or give access",
        )
    return None
