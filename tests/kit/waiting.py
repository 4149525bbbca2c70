"""Waiting for something to become true, with a sentence when it does not."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class WaitTimeoutError(AssertionError):
    """What was waited for did not come."""


def wait_for(what: str, probe: Callable[[], T | None], timeout_s: float = 10.0, interval_s: float = 0.02) -> T:
    """The first truthy answer of `probe`. Raises `WaitTimeoutError` naming `what` after `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() >= deadline:
            raise WaitTimeoutError(f"waited {timeout_s:g} s in vain for {what}")
        time.sleep(interval_s)
