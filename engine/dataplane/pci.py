"""Whether PCI functions that are polled are still ours: unplugged, taken for passthrough, or lost with their PF.

Whoever takes a function from its driver waits in the kernel until the engine has closed it (vfio_unregister_group_dev);
the link to the driver is removed before that wait, so it tells in time.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

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
