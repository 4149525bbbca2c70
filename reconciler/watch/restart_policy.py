"""When a child process is started (again): a state machine of a few lines, told what happened and when."""

from __future__ import annotations

from dataclasses import dataclass, field

AGAIN_AT_ONCE = 75
"""The exit code of an engine that asks to be started with other parameters (EX_TEMPFAIL of sysexits.h)."""
FIRST_S = 0.1
LAST_S = 5.0
STABLE_S = 10.0
"""Who lived that long did not die of how he was started."""


@dataclass(slots=True)
class Child:
    """One child's life as seen by its parent. Times are in seconds of any steady clock."""

    name: str
    start_at: float = 0.0
    """When it is to be started; only meaningful while it does not run."""
    started: float = field(default=0.0)
    deaths: int = 0
    """In quick succession."""

    def has_started(self, now: float) -> None:
        """It was started."""
        self.started = now

    def died(self, now: float, code: int) -> None:
        """It ended, with this exit code (negative: by this signal)."""
        if now - self.started >= STABLE_S:
            self.deaths = 0
        if code == AGAIN_AT_ONCE:
            self.start_at = now
            return
        self.start_at = now + min(FIRST_S * 2.0**self.deaths, LAST_S)
        self.deaths = min(self.deaths + 1, 20)
