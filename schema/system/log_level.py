"""The levels of messages, syslog's, and from which one on they are logged."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Mapping
from types import MappingProxyType, TracebackType

from schema.system.log_writer import LogWriter

LEVELS = ("emergency", "alert", "critical", "error", "warning", "notice", "info", "debug")
"""By syslog's numbers, 0 to 7."""
STDERR = 2
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


LOG = logging.getLogger("vio4wd")


def log_to_stderr() -> LogWriter:
    """For commands that stay. Until somebody knows better, from info on. What would else end in a traceback on
    standard error, which may have to wait for a reader, is logged as well."""
    writer = LogWriter(STDERR)
    logging.raiseExceptions = False
    logging.captureWarnings(True)
    logging.basicConfig(handlers=[writer], format=FORMAT)
    log_from("info")
    sys.excepthook = _log_fault
    threading.excepthook = _log_thread_fault
    sys.unraisablehook = _log_unraisable
    return writer


def _log_fault(kind: type[BaseException], fault: BaseException, trace: TracebackType | None) -> None:
    LOG.critical("ended by a fault of its own", exc_info=(kind, fault, trace))


def _log_thread_fault(hook: threading.ExceptHookArgs) -> None:
    if hook.exc_value is not None:
        LOG.critical("a thread has ended by a fault", exc_info=(hook.exc_type, hook.exc_value, hook.exc_traceback))


def _log_unraisable(hook: sys.UnraisableHookArgs) -> None:
    if hook.exc_value is not None:
        LOG.error("a fault went by: %r", hook.object, exc_info=(hook.exc_type, hook.exc_value, hook.exc_traceback))


def log_from(level: str) -> None:
    """Whatever is less severe than this one of LEVELS is not logged from now on."""
    logging.getLogger("vio4wd").setLevel(THRESHOLDS[level])
