"""What may come right by itself, and what can't until the spec says something else: all refusals in one table."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType


class Remedy(enum.StrEnum):
    """What can help."""

    TIME = "time"
    """A device that comes, memory that is freed, a directory that is made: it is tried again."""
    SPEC = "spec"
    """Only other content; the same again would be refused again."""


REMEDIES: Mapping[str, Remedy] = MappingProxyType(
    {
        # An engine's refusals, docs/engine-api.md
        "exists": Remedy.TIME,  # somebody has it whom we did not see
        "unknown": Remedy.TIME,  # it went while we planned
        "in-use": Remedy.TIME,
        "limit": Remedy.TIME,  # what others have may be let go
        "no-device": Remedy.TIME,
        "no-memory": Remedy.TIME,
        "not-allowed": Remedy.TIME,  # the host's policy may change
        "socket": Remedy.TIME,
        "failed": Remedy.TIME,  # a driver's own reasons, most of them about the link or the firmware
        "unsupported": Remedy.SPEC,
        "bad-request": Remedy.SPEC,
        # Why a spec is unfit for this host, SpecUnfit below
        "no-user": Remedy.TIME,
        "no-group": Remedy.TIME,
        "no-cpu": Remedy.TIME,
        "no-room": Remedy.SPEC,
        "unread": Remedy.SPEC,
    }
)


def is_retryable(code: str) -> bool:
    """Whether trying again can help. What is not in the table is tried: that costs little, and giving up a relay
    wrongly costs much."""
    return REMEDIES.get(code, Remedy.TIME) is Remedy.TIME
