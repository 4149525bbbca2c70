"""Which worker CPUs belong to which shard, and which of them each relay has.

Shards divide ports, not CPUs: two of them on one CPU share its time, which is avoided where it can be, and refused
where workers never sleep. Within a shard who is pinned stays there, who is placed well stays too, the rest goes where
the least is, on the NUMA node of its guest, else of its VF, when that has workers. The load is counted in directions,
not in packets: that is the balancer's business. Nobody is moved because a guest on another node has connected: packet
buffers follow the guest, and moves have their price too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from reconciler.host.refusal import SpecUnfit
from reconciler.planning.shards import Homes
from schema.model import Kind, Pin, State, Worker

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


# ---- within a shard --------------------------------------------------------------------------------------------------


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
