"""What was said last about each thing: a fault is logged once, and once that it is over."""

from __future__ import annotations

import logging


class ChangeLog:
    """By what it is about."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._last: dict[str, str] = {}

    def last(self, about: str) -> str:
        """Empty when all is well."""
        return self._last.get(about, "")

    def is_news(self, about: str, text: str) -> bool:
        """Whether it is another than last time; remembers it."""
        before, self._last[about] = self.last(about), text
        return text != before

    def tell(self, about: str, fault: str, words: str, healed: str) -> None:
        """`words` has a place for the fault; nothing is said of its end where `healed` is empty."""
        if not self.is_news(about, fault):
            return
        if fault:
            self._log.warning(words, fault)
        elif healed:
            self._log.info(healed)
