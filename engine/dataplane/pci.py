"""Whether PCI functions that are polled are still ours: unplugged, taken for passthrough, or lost with their PF.

Whoever takes a function from its driver waits in the kernel until the engine has closed it (vfio_unregister_group_dev);
the link to the driver is removed before that wait, so it tells in time.

And on which NUMA node memory lies, asked of the kernel.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path

NODES = Path("/sys/devices/system/node")
_MPOL_F_NODE, _MPOL_F_ADDR = 1, 2
"""get_mempolicy: give the node, of the page at the address."""

DEVICES = Path("/sys/bus/pci/devices")


class Functions:
    """Remembers the driver of each PCI function since it was first looked at."""

    def __init__(self, devices: Path = DEVICES) -> None:
        self._devices = devices
        self._drivers: dict[str, str] = {}

    def gone(self, names: Iterable[str]) -> list[str]:
        """Those of the attached devices that are PCI functions and have lost the driver that they had. What is not
        named is forgotten."""
        now = {name: self._driver(name) for name in names if ":" in name}
        gone = [name for name, driver in now.items() if not driver or driver != self._drivers.get(name, driver)]
        self._drivers = {name: driver for name, driver in now.items() if name not in gone}
        return gone

    def _driver(self, address: str) -> str:
        try:
            return os.path.basename(os.readlink(self._devices / address / "driver"))
        except OSError:
            return ""


def several_nodes() -> bool:
    """Whether this host has more than one NUMA node."""
    return len(list(NODES.glob("node[0-9]*"))) > 1


class Numa:
    """Asks the kernel, through the libnuma that DPDK is built with. Any address may be asked for."""

    def __init__(self) -> None:
        self.several = several_nodes()
        self._get = self._function() if self.several else None

    @staticmethod
    def _function() -> ctypes._NamedFuncPointer | None:
        try:
            found = ctypes.CDLL("libnuma.so.1").get_mempolicy
        except (OSError, AttributeError):
            return None
        void, long = ctypes.c_void_p, ctypes.c_ulong
        found.restype, found.argtypes = ctypes.c_long, [void, void, long, void, long]
        return found

    def node_of(self, address: int) -> int | None:
        """The node on which the page at an address lies; None where nothing lies, or there is only one node."""
        node = ctypes.c_int(-1)
        flags = _MPOL_F_NODE | _MPOL_F_ADDR
        if not self._get or not address or self._get(ctypes.byref(node), None, 0, address, flags) != 0:
            return None
        return node.value
