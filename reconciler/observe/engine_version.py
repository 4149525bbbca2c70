"""For which state of which engine something holds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineVersion:
    """The state of an engine that a plan was made for, or that it was left in."""

    shard: int
    boot_id: str | None
    """None: it did not run, and is to be as it starts."""
    generation: int


def fingerprint(versions: Iterable[EngineVersion]) -> tuple[str, int]:
    """Another one as soon as any of these engines is another, or was changed."""
    ordered = sorted(versions, key=lambda version: version.shard)
    return " ".join(f"{m.shard}={m.boot_id}" for m in ordered), sum(m.generation for m in ordered)
