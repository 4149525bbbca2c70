"""What all engine processes of a host showed when they were asked, one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from engine.api.client import Observation
from engine.api.live import Limits
from schema.model import MAX_SHARDS, PORTS, State


@dataclass(frozen=True, slots=True)
class HostSnapshot:
    """By shard. Who is neither in `observations` nor in `silent` does not run."""

    observations: Mapping[int, Observation] = field(default_factory=dict)
    """Those that are ready, and what is live on them."""
    silent: Mapping[int, str] = field(default_factory=dict)
    """Those that run but do not say what is live on them: they start, stop or hang. With a sentence on each."""
    limits: Mapping[int, Limits] = field(default_factory=dict)
    """What each engine says that it can have, as docs/engine-api.md has it."""
    remembered: Mapping[int, int] = field(default_factory=dict)
    """Relay id to the shard on which it was last to be; it counts for relays that are not live."""

    @property
    def versions(self) -> tuple[EngineVersion, ...]:
        """Of those that said what is live on them."""
        return tuple(
            EngineVersion(shard, each.boot_id, each.generation) for shard, each in sorted(self.observations.items())
        )

    @property
    def live(self) -> dict[int, int]:
        """Relay id to the shard on which it is."""
        return {
            id_: shard
            for shard in sorted(self.observations, reverse=True)
            for id_ in self.observations[shard].state.relays
        }

    @property
    def states(self) -> dict[int, State]:
        """What is live on each shard that says so."""
        return {shard: observation.state for shard, observation in sorted(self.observations.items())}

    @property
    def room(self) -> tuple[int, ...]:
        """How many of DPDK's ports each shard may have; one that does not say is taken to be as the others."""
        known = {shard: limits.ports for shard, limits in sorted(self.limits.items()) if limits.ports is not None}
        usual = next(iter(known.values()), PORTS)
        return tuple(known.get(shard, usual) for shard in range(MAX_SHARDS))

    @property
    def homes(self) -> Mapping[int, int]:
        """What is remembered, as long as it is good for something: where nothing is live and nobody hangs, everything
        can be placed anew without a guest noticing, on as few shards as possible."""
        return self.remembered if self.live or self.silent else {}


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
