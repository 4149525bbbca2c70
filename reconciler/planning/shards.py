"""On which engine process each relay lives: pure, deterministic and sticky.

One DPDK process has a fixed number of ports, so more relays than that need more processes: shards. A relay stays on its
shard while it fits there, new ones go to the lowest shard with room, and when somebody has to move, as few as possible
do, because the guest of a relay that changes its process sees its link go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

from reconciler.host.refusal import SpecUnfit
from schema.model import MAX_SHARDS, PORTS, Port, State

EXACT_MOVES = 3
"""Up to so many moves the fewest are found by trying; beyond that the search is greedy (it is bin packing)."""

Homes = Mapping[int, int]
"""Relay id to shard."""
Costs = Mapping[int, int]
"""Relay id to the number of DPDK's ports that it takes."""


@dataclass(frozen=True, slots=True)
class Division:
    """Which relay lives where."""

    homes: Homes
    """The shard of every desired relay."""
    moved: Mapping[int, tuple[int, int]]
    """The live relays that have to change their process: from, to."""


def ports_of(port: Port | None) -> int:
    """How many of DPDK's ports it takes: a bond is one itself, and one for each member."""
    return 1 + len(port.members) if port is not None else 1


def costs_of(desired: State) -> dict[int, int]:
    """What each relay takes."""
    return {id_: ports_of(desired.ports.get(relay.port)) for id_, relay in desired.relays.items()}


def check_ports(desired: State, room: Sequence[int] = (PORTS,) * MAX_SHARDS) -> None:
    """Raises SpecUnfit when these relays can't live on any host, with the arithmetic."""
    divide(costs_of(desired), {}, {}, room)


def divide(costs: Costs, live: Homes, remembered: Homes, room: Sequence[int]) -> Division:
    """The home of each relay in `costs`. `live` is where relays are now, `remembered` where those that are not live
    were to be; `room` is how many ports each shard may have. Raises SpecUnfit with the arithmetic."""
    staying = {id_: shard for id_, shard in live.items() if id_ in costs and shard < len(room)}
    preferred = {**remembered, **staying}
    for leaving in _leavings(costs, staying, room):
        stay = {id_: shard for id_, shard in staying.items() if id_ not in leaving}
        homes = _packed(costs, stay, preferred, room) or _packed(costs, stay, {}, room)
        if homes is not None:
            moved = {id_: (staying[id_], homes[id_]) for id_ in sorted(leaving) if homes[id_] != staying[id_]}
            return Division(dict(sorted(homes.items())), moved)
    raise SpecUnfit([_arithmetic(costs, room)])


def _leavings(costs: Costs, staying: Homes, room: Sequence[int]) -> Iterator[frozenset[int]]:
    """Which relays could give up their place, the fewest first, all of them last."""
    least = _overflow(costs, staying, room)
    groups: dict[tuple[int, int], list[int]] = {}
    for id_ in sorted(staying, reverse=True):
        groups.setdefault((staying[id_], costs[id_]), []).append(id_)
    for count in range(len(least), EXACT_MOVES + 1):
        for chosen in combinations_with_replacement(sorted(groups), count):
            wanted = Counter(chosen)
            if all(number <= len(groups[group]) for group, number in wanted.items()):
                yield frozenset(id_ for group, number in wanted.items() for id_ in groups[group][:number])
    yield least
    yield frozenset(staying)


def _overflow(costs: Costs, staying: Homes, room: Sequence[int]) -> frozenset[int]:
    """As few relays as possible whose leaving makes every shard fit; of equals the highest ids."""
    leaving: set[int] = set()
    for shard, ports in enumerate(room):
        mine = sorted((id_ for id_, home in staying.items() if home == shard), key=lambda id_: (costs[id_], id_))
        excess = sum(costs[id_] for id_ in mine) - ports
        while excess > 0:
            enough = [id_ for id_ in mine if costs[id_] >= excess]
            chosen = max(enough, key=lambda id_: (-costs[id_], id_)) if enough else mine[-1]
            mine.remove(chosen)
            leaving.add(chosen)
            excess -= costs[chosen]
    return frozenset(leaving)


def _packed(costs: Costs, stay: Homes, preferred: Homes, room: Sequence[int]) -> dict[int, int] | None:
    """Everybody's home when these stay: whoever prefers one first, then the largest, each on its lowest shard with
    room. None when that is not possible."""
    homes, free = dict(stay), list(room)
    for id_, shard in stay.items():
        free[shard] -= costs[id_]
    if min(free) < 0:
        return None
    rest = costs.keys() - stay.keys()
    for id_ in sorted(rest, key=lambda id_: (id_ not in preferred, -costs[id_], id_)):
        fitting = [shard for shard, ports in enumerate(free) if ports >= costs[id_]]
        if not fitting:
            return None
        homes[id_] = preferred[id_] if preferred.get(id_) in fitting else fitting[0]
        free[homes[id_]] -= costs[id_]
    return homes


def _arithmetic(costs: Costs, room: Sequence[int]) -> str:
    sizes = Counter(costs.values())
    terms = " + ".join(_term(cost, count) for cost, count in sorted(sizes.items()))
    need, have = sum(costs.values()), sum(room)
    ports = _ports_each(room)
    if need > have:
        return (
            f"relays: they need {need} ports of DPDK ({terms}), and {len(room)} shards with {ports} ports "
            f"each have {have}; take out relays that need {need - have}, or members of bonds"
        )
    return (
        f"relays: they need {need} ports of DPDK ({terms}) and {len(room)} shards with {ports} ports each "
        f"have {have}, but a bond has to have its members in its own shard, and they can't be divided so; take out "
        "members of bonds"
    )


def _term(cost: int, count: int) -> str:
    if cost == 1:
        return f"{count} for VFs"
    return f"{count} x {cost} for bonds of {cost - 1}"


def _ports_each(room: Iterable[int]) -> str:
    return " or ".join(str(ports) for ports in sorted(set(room)))
