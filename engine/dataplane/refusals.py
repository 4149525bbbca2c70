"""Who is cut off on a socket: what is said of it and how often, and when nobody is let in for a while."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.burst.compiled import layout as at

LINES = 5
LINES_EVERY_S = 60.0
"""So many lines of a socket's peers are logged in so many seconds for each of these reasons, and for all requests
together; the others are counted."""
LOST_AT_FIRST = 64
"""Descriptors that a socket's peers may cost before nobody is let in for a while: eight messages that are wrong in a
way that no QEMU is."""
LOST_LATER = 8
"""And after each further while."""
FIRST_PAUSE_S = 10.0
LONGEST_PAUSE_S = 86_400.0
"""The pauses between, each twice the one before: a socket costs 64 descriptors, and 8 more each day at last."""
CROWDED_S = 30.0
"""So long status says that a guest found no descriptors left."""
REASONS = {
    at.MEMORY_SHORT: "its memory is shorter than it said, or this host has no page left for it, or a page has failed",
    at.DESCRIPTORS_LOST: "it sent a message that DPDK fails with, and leaves open the descriptors that came with it",
    at.DESCRIPTORS_SHORT: "the engine has few descriptors left, which it keeps for what is there already; raise its "
    "limit (ulimit -n, or LimitNOFILE= of the unit) and start it again",
}


def reason(request: int) -> str:
    """What somebody was cut off for: a request, or one of the reasons below 0."""
    asked = f"it sent a vhost-user message (request {request}) that is malformed, out of turn or of no use to a relay"
    return REASONS.get(request, asked)


@dataclass(slots=True)
class Lines:
    """What was logged of late, and how often nothing was."""

    since: float = float("-inf")
    logged: int = 0
    left_out: int = 0

    def more(self, now: float) -> str | None:
        """None when enough was said for now, else what to add to the line."""
        if now - self.since >= LINES_EVERY_S:
            self.since, self.logged = now, 0
        if self.logged >= LINES:
            self.left_out += 1
            return None
        self.logged += 1
        more = f" ({self.left_out} more were not logged)" if self.left_out else ""
        self.left_out = 0
        return more


@dataclass(slots=True)
class Refusals:
    """Of one socket. All times are monotonic seconds."""

    most: int = LOST_AT_FIRST
    """Nobody is let in when so many descriptors are lost."""
    until: float | None = None
    """When somebody is let in again."""
    crowded: float | None = None
    """When a guest last found no descriptors left."""
    _pause: float = FIRST_PAUSE_S
    _lines: dict[int, Lines] = field(default_factory=dict)

    def line(self, request: int, now: float) -> str | None:
        """What to log, None when enough was said of this socket for now."""
        more = self._lines.setdefault(min(request, 0), Lines()).more(now)
        return None if more is None else reason(request) + more

    def pause(self, lost: int, now: float) -> float | None:
        """Shuts the socket if its peers have cost too much. For how many seconds, None if it is shut already or not at
        all."""
        if lost < self.most or self.until is not None:
            return None
        pause, self.until = self._pause, now + self._pause
        self._pause = min(2 * pause, LONGEST_PAUSE_S)
        return pause

    def turned_away(self, now: float, connects: bool) -> None:
        """A guest found no descriptors left. DPDK, where it `connects`, would not try again by itself."""
        self.crowded = now
        if connects and self.until is None:
            self.until = now + FIRST_PAUSE_S

    def over(self, lost: int, now: float) -> bool:
        """Whether a pause has ended just now."""
        if self.until is None or now < self.until:
            return False
        self.until, self.most = None, lost + LOST_LATER
        return True

    def words(self, now: float) -> str | None:
        """What status says while nobody is let in."""
        if self.crowded is not None and now - self.crowded < CROWDED_S:
            return f"a guest was turned away: {REASONS[at.DESCRIPTORS_SHORT]}"
        if self.until is not None:
            return f"nobody is let in for another {max(self.until - now, 0):.0f} s: {REASONS[at.DESCRIPTORS_LOST]}"
        return None
