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

from reconciler.host.interface_usage import Network, interfaces, usage

VFIO_PCI = "vfio-pci"
NETWORK_CLASS, BRIDGE_CLASS = "0x02", "0x06"
"""The first byte of the class code of a network device and of a bridge."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another function of the same IOMMU group."""

    address: str
    driver: str
    bridge: bool
    network: bool = False
    used: tuple[str, ...] = ()
    """As `Facts.used`."""


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
    class_code: str = ""
    """As the kernel writes it, 0x020000 for an Ethernet device; empty: unknown."""
    used: tuple[str, ...] = ()
    """What the host does with it, as clauses (reconciler.host.interface_usage)."""
    interfaces: tuple[str, ...] = ()
    """Its network interfaces, by name."""
    lacking: tuple[str, ...] = ()
    """Which of VFIO's nodes are not there, or may not be opened by us."""

    @property
    def network(self) -> bool:
        """Whether it is certainly a network device."""
        return self.class_code.startswith(NETWORK_CLASS)


class Pci:
    """The host's PCI functions; `root` is another than / in tests, and so is what the kernel says of interfaces."""

    def __init__(self, root: Path = Path("/"), network: Network | None = None) -> None:
        self._root = root
        self._network = network or Network()
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
            class_code=_text(device / "class"),
            used=self._used(address),
            interfaces=interfaces(device),
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
        return tuple(self._neighbour(name) for name in names if name != address)

    def _neighbour(self, address: str) -> Neighbour:
        class_code = _text(self.device(address) / "class")
        if class_code.startswith(BRIDGE_CLASS):
            return Neighbour(address, self.driver(address), bridge=True)
        network = class_code.startswith(NETWORK_CLASS)
        return Neighbour(address, self.driver(address), False, network, self._used(address))

    def _used(self, address: str) -> tuple[str, ...]:
        return usage(self.device(address), self._root / "sys/class/net", self._network)

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
