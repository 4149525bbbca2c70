"""On which engine process each relay lives, which CPUs each process has, and where its relays are polled: pure,
deterministic and sticky.

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
from schema.model import MAX_SHARDS, PORTS, Kind, Pin, Port, State, Worker

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


Allotment = dict[int, frozenset[int]]
"""Shard to the CPUs on which it has workers."""


def allot(desired: State, homes: Homes, live: Mapping[int, State]) -> Allotment:
    """The CPUs of each shard that has relays. One alone (without any relays: the first) has them all.

    Of several, each has those that the spec's pins name and a share of the rest, by how many of its relays are free to
    be placed. The same question gives the same answer, also after it was carried out. Raises SpecUnfit when two would
    share a CPU with `idle: busy`.
    """
    shards = sorted(set(homes.values())) or [0]
    everything = frozenset(worker.cpu for worker in desired.workers)
    if len(shards) <= 1:
        return dict.fromkeys(shards, everything)
    pinned = {shard: _pinned(shard, homes, desired.pins) for shard in shards}
    loose = Counter(shard for id_, shard in homes.items() if id_ not in desired.pins)
    nodes = {shard: _nodes(shard, homes, desired) for shard in shards}
    shares = _dealt(everything - frozenset().union(*pinned.values()), pinned, loose, nodes, desired, live)
    _share(shares, loose, sorted(everything))
    if desired.engine.idle == "busy":
        _refuse_shared(shares)
    return {shard: frozenset(cpus) for shard, cpus in shares.items()}


def _pinned(shard: int, homes: Homes, pins: Mapping[int, Pin]) -> set[int]:
    mine = [pin for id_, pin in pins.items() if homes.get(id_) == shard]
    return {cpu for pin in mine for cpu in (pin.vf_to_vm, pin.vm_to_vf)}


def _nodes(shard: int, homes: Homes, desired: State) -> Counter[int]:
    """How many of a shard's relays are free to be placed and have their VF on which NUMA node."""
    mine = [relay for id_, relay in desired.relays.items() if homes.get(id_) == shard and id_ not in desired.pins]
    found = (desired.nodes.get((Kind.PORT, relay.port)) for relay in mine)
    return Counter(node for node in found if node is not None)


def _dealt(
    left: Iterable[int],
    pinned: Mapping[int, set[int]],
    loose: Counter[int],
    nodes: Mapping[int, Counter[int]],
    desired: State,
    live: Mapping[int, State],
) -> dict[int, set[int]]:
    """Deals CPUs one by one to whoever has the most loose relays for each CPU that it has; who has none is first."""
    shares = {shard: set(cpus) for shard, cpus in pinned.items()}
    deck = set(left)
    while deck:
        asking = [shard for shard in sorted(shares) if len(shares[shard]) < loose[shard]]
        if not asking:
            break
        shard = max(asking, key=lambda each: (not shares[each], loose[each] / (len(shares[each]) + 1), -each))
        unserved = {node: count / (1 + len(_on(node, shares[shard], desired))) for node, count in nodes[shard].items()}
        cpu = _fitting(deck, shard, desired, live, unserved)
        deck.remove(cpu)
        shares[shard].add(cpu)
    return shares


def _on(node: int, cpus: Iterable[int], desired: State) -> list[int]:
    return [cpu for cpu in cpus if desired.nodes.get((Kind.WORKER, cpu)) == node]


def _fitting(
    deck: Iterable[int], shard: int, desired: State, live: Mapping[int, State], unserved: Mapping[int, float]
) -> int:
    """Where most of the shard is already, and least of the others; else on the NUMA node with the most relays for
    each CPU that the shard has there, else not the main CPU, else the lowest."""

    def rank(cpu: int) -> tuple[int, bool, int, float, bool, int]:
        own = _entries(live.get(shard), cpu)
        others = sum(_entries(state, cpu) for other, state in live.items() if other != shard)
        newcomer = not (shard in live and Worker(cpu) in live[shard].workers)
        near = unserved.get(desired.nodes.get((Kind.WORKER, cpu), -1), 0.0)
        return -own, newcomer, others, -near, cpu == desired.engine.main_cpu, cpu

    return min(deck, key=rank)


def _entries(state: State | None, cpu: int) -> int:
    pins = state.pins.values() if state is not None else ()
    return sum((pin.vf_to_vm == cpu) + (pin.vm_to_vf == cpu) for pin in pins)


def _share(shares: dict[int, set[int]], loose: Counter[int], cpus: list[int]) -> None:
    """Who got none shares the CPU that the fewest have."""
    for shard in sorted(shares):
        if not shares[shard] and cpus:
            users = {cpu: [other for other in shares if cpu in shares[other]] for cpu in cpus}
            shares[shard] = {min(cpus, key=lambda cpu: (len(users[cpu]), sum(loose[o] for o in users[cpu]), cpu))}


def _refuse_shared(shares: Mapping[int, set[int]]) -> None:
    for cpu in sorted(set().union(*shares.values())):
        users = [str(shard) for shard in sorted(shares) if cpu in shares[shard]]
        if len(users) > 1:
            raise SpecUnfit(
                [
                    f"engine.worker_cpus: so many ports take {len(shares)} shards, and shards {' and '.join(users)} "
                    f"would share CPU {cpu}, where with idle: busy each takes the other's time; name at least "
                    f"{len(shares)} CPUs, pin no two relays of different shards to one, or write idle: adaptive"
                ]
            )


def place(desired: State, observed: State) -> dict[int, Pin]:
    """A pin for every desired relay, sorted by relay. The same states give the same pins.

    Raises ValueError when a relay is to be placed and there is no worker.
    """
    cpus = {worker.cpu for worker in desired.workers}
    staying = {relay: pin for relay in desired.relays if (pin := _own_pin(relay, desired, observed.pins, cpus))}
    directions = Counter(cpu for pin in staying.values() for cpu in (pin.vf_to_vm, pin.vm_to_vf))
    placed = dict(staying)
    for relay in sorted(desired.relays.keys() - staying.keys()):
        cpu = _emptiest(near(relay, desired, observed) or cpus, directions, desired.engine.main_cpu)
        directions[cpu] += 2
        placed[relay] = Pin(relay, cpu, cpu)
    return dict(sorted(placed.items()))


def near(relay: int, desired: State, observed: State) -> set[int]:
    """The worker CPUs on the NUMA node where the relay's packets are; empty where that makes no difference."""
    wanted = desired.relays[relay]
    node = observed.nodes.get((Kind.SOCKET, wanted.socket), desired.nodes.get((Kind.PORT, wanted.port)))
    return {w.cpu for w in desired.workers if node is not None and desired.nodes.get((Kind.WORKER, w.cpu)) == node}


def _own_pin(relay: int, desired: State, live: Mapping[int, Pin], cpus: set[int]) -> Pin | None:
    """The pin that the spec gives, else the one that the relay has, unless one of its CPUs is no worker any more."""
    if relay in desired.pins:
        return desired.pins[relay]
    pin = live.get(relay)
    return pin if pin is not None and {pin.vf_to_vm, pin.vm_to_vf} <= cpus else None


def _emptiest(cpus: Iterable[int], directions: Mapping[int, int], main_cpu: int) -> int:
    """The CPU with the fewest directions; of equals not the one where the engine's own Python runs, then the lowest."""
    if not cpus:
        raise ValueError("there is no worker to place relays on; name CPUs in engine.worker_cpus")
    return min(cpus, key=lambda cpu: (directions[cpu], cpu == main_cpu, cpu))
