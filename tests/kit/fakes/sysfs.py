"""Network devices and VFs in a directory that looks like /sys: a VF may be any device that DPDK can poll, such as
`net_af_packet3,iface=veth3`."""

from __future__ import annotations

import shutil
from pathlib import Path


class Sysfs:
    """Empty at first. `root` is what `$VIO4WD_SYS_DIR` names."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._net = root / "class/net"
        self._net.mkdir(parents=True)
        self._bus = root / "bus/pci/devices"
        self._bus.mkdir(parents=True)

    def device(self, name: str) -> Path:
        found = self._bus / name
        found.mkdir(exist_ok=True)
        return found

    def vf(self, pf: str, index: int, vf: str) -> None:
        """A PF has a VF."""
        (self.device(pf) / f"virtfn{index}").symlink_to(f"../{vf}")
        (self.device(vf) / "physfn").symlink_to(f"../{pf}")

    def netdev(self, name: str, device: str = "", port: str = "", switch: str = "") -> None:
        """A network device appears: of a PCI function, or of a switch, or of both."""
        folder = self._net / name
        folder.mkdir()
        if device:
            (folder / "device").symlink_to(f"../../../bus/pci/devices/{device}")
            self.device(device)
        for file, text in (("phys_port_name", port), ("phys_switch_id", switch)):
            if text:
                (folder / file).write_text(f"{text}\n")

    def remove(self, name: str) -> None:
        """It goes, as a VF's does when the VF is bound to vfio-pci."""
        shutil.rmtree(self._net / name)
