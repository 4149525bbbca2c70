"""Whether a plan's ports and guests fit into this host: hugepages by NUMA node, and file descriptors. Estimates, on the
safe side: what an engine says that a port costs (docs/engine-api.md), and what vhost and VFIO open for each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from reconciler.desired import SpecUnfit
from reconciler.host import Host
from reconciler.hostmemory import coming
from reconciler.hostplan import HostPlan
from reconciler.sighting import Sighting
from schema.model import Kind, Port, State

MIB = 1024 * 1024
SHARD_BYTES = 32 * MIB
"""What an engine process takes before it has any port: the EAL's own, and the buffers of guests that are drained."""
ROOM_BYTES = 2048
FRAME_OVERHEAD_BYTES = 64
"""Of a frame beyond its MTU: Ethernet header, VLAN tags, checksum, and rounding to a cache line."""
FILES = 64
"""An engine's own: sockets, logs, libraries, event descriptors."""
FILES_PER_RELAY = 20
"""The socket and its connection, up to 8 regions of the guest's memory, the VF's group, device and interrupts."""
FILES_PER_QUEUE = 4
"""Two rings, each with a descriptor to kick and one to be kicked with."""


def refuse_shortage(todo: HostPlan, sighting: Sighting, host: Host) -> None:
    """Raises SpecUnfit, with the arithmetic, when this host has not what the plan needs."""
    found = shortages(todo, sighting, host)
    if found:
        raise SpecUnfit(found, ["no-memory"])


def shortages(todo: HostPlan, sighting: Sighting, host: Host) -> list[str]:
    """What is too little, each with the arithmetic. An engine that does not say what it costs is not reckoned with."""
    return [*_memory(todo, sighting, host), *_files(todo, sighting)]


def port_bytes(port: Port, limits: Mapping[str, int]) -> int:
    """What a port's packet buffers take, by what an engine says: so many for each queue of each device, and so many."""
    devices = max(1, len(port.members))
    mbufs = devices * (port.queues + 1) * limits["queue_mbufs"] + limits["port_mbufs"]
    return mbufs * (limits["mbuf_bytes"] + max(ROOM_BYTES, port.mtu + FRAME_OVERHEAD_BYTES))


def _memory(todo: HostPlan, sighting: Sighting, host: Host) -> Iterable[str]:
    said = [limits for _, limits in sorted(sighting.limits.items()) if "mbuf_bytes" in limits]
    if not said:
        return
    now = host.free_hugepages()
    more = coming(todo.actions, now)
    free = {node: size + more[node] for node, size in now.items()}
    ports, by_node = 0, dict.fromkeys(free, 0)
    for errand in todo.errands:
        if errand.action.kind is not Kind.PORT:
            continue
        change = _bytes(errand.action.after, said[0]) - _bytes(errand.action.before, said[0])
        ports += (errand.action.after is not None) - (errand.action.before is not None)
        node = host.node_of(str(errand.action.key))
        by_node[node] = by_node.get(node, 0) + change
    shards = sum(shard not in sighting.seen for shard in todo.targets)
    need = sum(by_node.values()) + shards * SHARD_BYTES
    if ports > 0 and need > sum(free.values()):
        yield _words(ports, shards, need, free)


def _bytes(port: object, limits: Mapping[str, int]) -> int:
    return port_bytes(port, limits) if isinstance(port, Port) else 0


def _words(ports: int, shards: int, need: int, free: Mapping[int, int]) -> str:
    more = f" and {shards} more engine processes" if shards else ""
    each = ", ".join(f"node {node}: {size // MIB}" for node, size in sorted(free.items()))
    total = sum(free.values()) // MIB
    return (
        f"hugepages: {ports} more ports{more} need about {-(-need // MIB)} MiB, and {total} MiB are free "
        f"({each}); reserve more (hugepages in the spec, or vm.nr_hugepages), or take out relays"
    )


def _files(todo: HostPlan, sighting: Sighting) -> Iterable[str]:
    for shard, target in todo.targets.items():
        limit = sighting.limits.get(shard, {}).get("files")
        need = files_of(target)
        if limit is not None and need > limit:
            yield (
                f"file descriptors: shard {shard} with {len(target.relays)} relays needs about {need}, and may open "
                f"{limit}; raise it (ulimit -n, or LimitNOFILE= of the unit), and start the engine again"
            )


def files_of(target: State) -> int:
    """How many descriptors an engine with these relays may have open."""
    queues = sum(target.ports[relay.port].queues for relay in target.relays.values() if relay.port in target.ports)
    return FILES + FILES_PER_RELAY * len(target.relays) + FILES_PER_QUEUE * queues + len(target.sockets)
