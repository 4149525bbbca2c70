"""Between a service manager and the watch loop that `run` starts: what the loop says is passed on, and a loop that
hangs is killed and started again without the engines noticing. The manager, which knows one service, would end all.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from schema.wire.notify import INHERITED, Notifier, NotifySocket

SILENT_S = 180.0
"""A loop that is not heard of for so long hangs: one action may take a minute (engine/api/client.py)."""
OURS = (INHERITED, "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
FORWARDED = ("READY=", "STATUS=", "RELOADING=")


def without_manager(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of a child that has nothing to say to the manager."""
    return {name: value for name, value in environment.items() if name not in OURS}


class NotifyProxy:
    """Told what time it is, now and then. Without a manager only the watching is left."""

    def __init__(self, notifier: Notifier | None = None, silent_s: float = SILENT_S) -> None:
        self._hearing = NotifySocket()
        self._notifier = notifier or Notifier()
        self._silent_s = silent_s
        self._heard = float("-inf")

    @property
    def environment(self) -> dict[str, str]:
        """The watch's, by which it finds us."""
        silent_us = str(int(self._silent_s * 1e6))
        return without_manager() | self._hearing.environment | {"WATCHDOG_USEC": silent_us}

    @property
    def inherited(self) -> tuple[int, ...]:
        """The descriptors that the watch must inherit for it."""
        return (self._hearing.descriptor,)

    def turn(self, now: float, started: float) -> bool:
        """Passes on what was said. Whether the watch, which was started at `started`, is to be killed."""
        for message in self._hearing.drain():
            self._heard = now
            if message.startswith(FORWARDED):
                self._notifier.forward(message)
        self._notifier.alive(now)
        return now - max(self._heard, started) > self._silent_s

    def stopping(self) -> None:
        self._notifier.stopping()

    def close(self) -> None:
        self._hearing.close()
        self._notifier.close()
