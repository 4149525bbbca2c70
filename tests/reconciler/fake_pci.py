"""A host's PCI functions in a directory that looks like sysfs, with a kernel that binds and unbinds as it is told."""

from __future__ import annotations

import errno
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.vfs.pci import Pci

NIC, BRIDGE = "0x020000", "0x060400"


@dataclass
class FakePci(Pci):
    """`natural` is the driver that takes a function which has no override."""

    root: Path
    natural: dict[str, str] = field(default_factory=dict)
    refuses: set[str] = field(default_factory=set)
    """Drivers that do not take anything."""
    in_use: set[str] = field(default_factory=set)
    """IOMMU groups that some process has open."""

    def __post_init__(self) -> None:
        super().__init__(self.root)
        (self.root / "dev/vfio").mkdir(parents=True)
        (self.root / "dev/vfio/vfio").touch()
        (self.root / "sys/bus/pci/devices").mkdir(parents=True)

    def add(self, address: str, driver: str = "", group: str = "", class_: str = NIC, virtual: bool = True) -> None:
        """A function appears, bound to `driver`."""
        device = self.device(address)
        device.mkdir()
        (device / "class").write_text(f"{class_}\n")
        (device / "driver_override").write_text("(null)\n")
        if virtual:
            (device / "physfn").symlink_to("../0000:05:00.0")
        if group:
            members = self.root / "sys/kernel/iommu_groups" / group / "devices"
            members.mkdir(parents=True, exist_ok=True)
            (members / address).symlink_to(device)
            (device / "iommu_group").symlink_to(members.parent)
            (self.root / "dev/vfio" / group).touch()
        self.natural[address] = driver
        self._bind(address, driver)

    def remove(self, address: str) -> None:
        """It vanishes, as when its PF makes no VFs any more."""
        shutil.rmtree(self.device(address))

    def interface(self, address: str, name: str, flags: int) -> None:
        folder = self.device(address) / "net" / name
        folder.mkdir(parents=True)
        (folder / "flags").write_text(f"{flags:#x}\n")

    def _bind(self, address: str, driver: str) -> None:
        link = self.device(address) / "driver"
        link.unlink(missing_ok=True)
        if driver and driver not in self.refuses:
            link.symlink_to(f"../../../../bus/pci/drivers/{driver}")

    def load_vfio(self) -> None:
        pass

    def set_override(self, address: str, driver: str) -> None:
        (self.device(address) / "driver_override").write_text(f"{driver or '(null)'}\n")

    def unbind(self, address: str) -> None:
        assert self._group(address) not in self.in_use, "the kernel would wait until nobody uses it"
        self._bind(address, "")

    def probe(self, address: str) -> None:
        override = self._override(self.device(address))
        self._bind(address, override or self.natural[address])

    def busy(self, group: str) -> bool:
        return group in self.in_use

    def _group(self, address: str) -> str:
        facts = self.facts(address)
        return facts.group if facts else ""


def not_permitted(path: Path) -> PermissionError:
    return PermissionError(errno.EACCES, "Permission denied", str(path))
