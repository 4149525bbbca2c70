"""What was said last about each thing: a fault is logged once, and once that it is over."""

from __future__ import annotations

import logging


class ChangeLog:
    """By what it is about."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._last: dict[str, str] = {}

    def tell(self, about: str, fault: str, words: str, healed: str) -> None:
        """`words` has a place for the fault; nothing is said of its end where `healed` is empty."""
        before, self._last[about] = self._last.get(about, ""), fault
        if fault == before:
            return
        if fault:
            self._log.warning(words, fault)
        elif healed:
            self._log.info(healed)
