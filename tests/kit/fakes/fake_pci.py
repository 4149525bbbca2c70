"""A host's PCI functions in a directory that looks like sysfs, with a kernel that binds and unbinds as it is told."""

from __future__ import annotations

import errno
import shutil
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.host.interface_usage import Network
from reconciler.host.pci import Pci

NIC, BRIDGE, DISK = "0x020000", "0x060400", "0x010802"


@dataclass
class FakePci(Pci):
    """`natural` is the driver that takes a function which has no override."""

    root: Path
    natural: dict[str, str] = field(default_factory=dict)
    refuses: set[str] = field(default_factory=set)
    """Drivers that do not take anything."""
    in_use: set[str] = field(default_factory=set)
    """IOMMU groups that some process has open."""
    addresses: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    routes: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Of interfaces, by index."""

    def __post_init__(self) -> None:
        super().__init__(self.root, Network(lambda index: self.addresses[index], lambda index: self.routes[index]))
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

    def interface(self, address: str, name: str, flags: int, below: str = "", master: str = "") -> int:
        """The index of a network interface that appears on the function, or on a device `below` it."""
        net = self.root / "sys/class/net"
        folder = self.device(address) / below / "net" / name
        folder.mkdir(parents=True)
        net.mkdir(parents=True, exist_ok=True)
        index = len(list(net.iterdir())) + 1
        (folder / "flags").write_text(f"{flags:#x}\n")
        (folder / "ifindex").write_text(f"{index}\n")
        (folder / "device").symlink_to(folder.parent.parent)
        if master:
            (folder / "master").symlink_to(net / master)
        (net / name).symlink_to(folder)
        return index

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
