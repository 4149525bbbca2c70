"""A clock that nobody sets: how long the host is up, suspended or not, and since which boot."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Steady(NamedTuple):
    """Two of one boot can be compared."""

    boot: str
    seconds: float


def steady() -> Steady:
    """Now."""
    try:
        boot = BOOT_ID.read_text().strip()
    except OSError:
        boot = ""
    return Steady(boot, time.clock_gettime(time.CLOCK_BOOTTIME))
