"""What the kernel says of PCI functions, and the few files through which it is told whose they are.

Sources: the kernel's Documentation/ABI/testing/sysfs-bus-pci and Documentation/driver-api/vfio.rst.
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

VFIO_PCI = "vfio-pci"
BRIDGE_CLASS = "0x06"
"""The first byte of a bridge's class code."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another function of the same IOMMU group."""

    address: str
    driver: str
    bridge: bool


@dataclass(frozen=True, slots=True)
class Facts:
    """A PCI function as it is now."""

    address: str
    driver: str = ""
    """Empty: none."""
    override: str = ""
    group: str = ""
    """Of the IOMMU; empty: none."""
    neighbours: tuple[Neighbour, ...] = ()
    virtual: bool = False
    """Whether it is a VF."""
    interfaces_up: tuple[str, ...] = ()
    """Its network interfaces that are up."""
    lacking: tuple[str, ...] = ()
    """Which of VFIO's nodes are not there, or may not be opened by us."""


class Pci:
    """The host's PCI functions; `root` is another than / in tests."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._bus = root / "sys/bus/pci"

    def device(self, address: str) -> Path:
        return self._bus / "devices" / address

    def facts(self, address: str) -> Facts | None:
        """None when this host has no such function."""
        device = self.device(address)
        if not device.exists():
            return None
        group = _link(device / "iommu_group")
        return Facts(
            address=address,
            driver=self.driver(address),
            override=self._override(device),
            group=group,
            neighbours=self._neighbours(device, address),
            virtual=(device / "physfn").is_symlink(),
            interfaces_up=_interfaces_up(device),
            lacking=self._lacking(group),
        )

    def driver(self, address: str) -> str:
        """The driver that it is bound to; empty: none."""
        return _link(self.device(address) / "driver")

    @staticmethod
    def _override(device: Path) -> str:
        text = _text(device / "driver_override")
        return "" if text == "(null)" else text

    def _neighbours(self, device: Path, address: str) -> tuple[Neighbour, ...]:
        try:
            names = sorted(os.listdir(device / "iommu_group" / "devices"))
        except OSError:
            return ()
        return tuple(
            Neighbour(name, self.driver(name), _text(self.device(name) / "class").startswith(BRIDGE_CLASS))
            for name in names
            if name != address
        )

    def _lacking(self, group: str) -> tuple[str, ...]:
        folder = self._root / "dev/vfio"
        names = [name for name in (group, f"noiommu-{group}") if (folder / name).exists()]
        nodes = [folder / "vfio", folder / (names[0] if names else group)]
        return tuple(str(node) for node in nodes if not os.access(node, os.R_OK | os.W_OK))

    def busy(self, group: str) -> bool:
        """Whether another process has this group open: a group has one user, and a second open says so."""
        try:
            os.close(os.open(self._root / "dev/vfio" / group, os.O_RDWR | os.O_CLOEXEC))
        except OSError as error:
            return error.errno == errno.EBUSY
        return False

    def load_vfio(self) -> None:
        """Loads vfio-pci if it is not there. Whether it worked is seen when it is used."""
        if not (self._bus / "drivers" / VFIO_PCI).exists():
            command = ["modprobe", VFIO_PCI]
            # No modprobe here, or it hangs: the bind that follows says that there is no such driver.
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run(command, check=False, timeout=30, capture_output=True)

    def set_override(self, address: str, driver: str) -> None:
        """Only this driver may take the function; empty: any. Raises OSError."""
        _write(self.device(address) / "driver_override", driver or "\n")

    def unbind(self, address: str) -> None:
        """Takes it from its driver, if it has one. Raises OSError. With vfio-pci this waits until nobody uses it."""
        if self.driver(address):
            _write(self.device(address) / "driver" / "unbind", address)

    def probe(self, address: str) -> None:
        """Offers it to the drivers. Raises OSError."""
        _write(self._bus / "drivers_probe", address)


def _link(path: Path) -> str:
    try:
        return os.path.basename(os.readlink(path))
    except OSError:
        return ""


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _write(path: Path, text: str) -> None:
    with path.open("w") as file:
        file.write(text)


def _interfaces_up(device: Path) -> tuple[str, ...]:
    """IFF_UP is bit 0 of the flags (linux/if.h)."""
    try:
        names = sorted(os.listdir(device / "net"))
    except OSError:
        return ()
    return tuple(name for name in names if int(_text(device / "net" / name / "flags") or "0", 16) & 1)
