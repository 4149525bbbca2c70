"""The levels of messages, syslog's, and from which one on they are logged."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from types import MappingProxyType

LEVELS = ("emergency", "alert", "critical", "error", "warning", "notice", "info", "debug")
"""By syslog's numbers, 0 to 7."""
FORMAT = "%(asctime)s %(name)s %(levelname)s %(message)s"
THRESHOLDS: Mapping[str, int] = MappingProxyType(
    {
        "emergency": logging.CRITICAL + 20,
        "alert": logging.CRITICAL + 10,
        "critical": logging.CRITICAL,
        "error": logging.ERROR,
        "warning": logging.WARNING,
        "notice": logging.WARNING - 5,
        "info": logging.INFO,
        "debug": logging.DEBUG,
    }
)
"""As Python numbers them; it knows five of them."""


def log_to_stderr() -> None:
    """For commands that stay. Until somebody knows better, from info on."""
    logging.basicConfig(stream=sys.stderr, format=FORMAT)
    log_from("info")


def log_from(level: str) -> None:
    """Whatever is less severe than this one of LEVELS is not logged from now on."""
    logging.getLogger("vio4wd").setLevel(THRESHOLDS[level])
