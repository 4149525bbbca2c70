"""What may come right by itself, and what can't until the spec says something else: all refusals in one table."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType


class Cure(enum.StrEnum):
    """What can help."""

    TIME = "time"
    """A device that comes, memory that is freed, a directory that is made: it is tried again."""
    SPEC = "spec"
    """Only other content; the same again would be refused again."""


CURES: Mapping[str, Cure] = MappingProxyType(
    {
        # An engine's refusals, docs/engine-api.md
        "exists": Cure.TIME,  # somebody has it whom we did not see
        "unknown": Cure.TIME,  # it went while we planned
        "in-use": Cure.TIME,
        "limit": Cure.TIME,  # what others have may be let go
        "no-device": Cure.TIME,
        "no-memory": Cure.TIME,
        "not-allowed": Cure.TIME,  # the host's policy may change
        "socket": Cure.TIME,
        "failed": Cure.TIME,  # a driver's own reasons, most of them about the link or the firmware
        "unsupported": Cure.SPEC,
        "bad-request": Cure.SPEC,
        # Why a spec is unfit for this host, SpecUnfit below
        "no-user": Cure.TIME,
        "no-group": Cure.TIME,
        "no-cpu": Cure.TIME,
        "no-room": Cure.SPEC,
        "unread": Cure.SPEC,
    }
)


def may_heal(code: str) -> bool:
    """Whether trying again can help. What is not in the table is tried: that costs little, and giving up a relay
    wrongly costs much."""
    return CURES.get(code, Cure.TIME) is Cure.TIME
