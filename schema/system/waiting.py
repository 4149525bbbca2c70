"""Looking again and again, where nothing tells when it is time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(answer: Callable[[], T], within_s: float, every_s: float = 0.1) -> T:
    """The first answer that is neither None nor False, or the last one in time. It is asked for at least once."""
    deadline = time.monotonic() + within_s
    while (found := answer()) is None or found is False:
        if time.monotonic() >= deadline:
            break
        time.sleep(every_s)
    return found
