"""Whether a plan's ports and guests fit into this host: hugepages by NUMA node, and file descriptors. Estimates, on the
safe side: what an engine says that a port costs (docs/engine-api.md), and what vhost and VFIO open for each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from engine.api.live import Limits
from reconciler.host.host import Host
from reconciler.host.refusal import PlanProblem, SpecUnfit
from reconciler.observe.actions import coming
from reconciler.observe.engines import HostSnapshot
from reconciler.planning.describe import number_of
from reconciler.planning.host_plan import HostPlan
from schema.model import Action, Kind, Port, State

MIB = 1024 * 1024
SHARD_BYTES = 32 * MIB
"""What an engine process takes before it has any port: the EAL's own, and the buffers of guests that are drained."""
NODE_PAGES = "/sys/devices/system/node/node%d/hugepages"
ROOM_BYTES = 2048
FRAME_OVERHEAD_BYTES = 64
"""Of a frame beyond its MTU: Ethernet header, VLAN tags, checksum, and rounding to a cache line."""
FILES = 64
"""An engine's own: sockets, logs, libraries, event descriptors."""
FILES_PER_RELAY = 20
"""The socket and its connection, up to 8 regions of the guest's memory, the VF's group, device and interrupts."""
FILES_PER_QUEUE = 4
"""Two rings, each with a descriptor to kick and one to be kicked with."""


def shortages(todo: HostPlan, snapshot: HostSnapshot, host: Host) -> tuple[PlanProblem, ...]:
    """What is too little, each with the arithmetic. An engine that does not say what it costs is not reckoned with."""
    return (*_memory_short(todo, snapshot, host), *_files_short(todo, snapshot))


def refuse(short: Iterable[PlanProblem]) -> None:
    """Raises SpecUnfit, with the arithmetic, when this host has not what a plan needs."""
    found = [each.problem for each in short]
    if found:
        raise SpecUnfit(found, ["no-memory"])


def port_bytes(port: Port, limits: Limits) -> int:
    """What a port's packet buffers take: one for each descriptor of each device's rings, and what an engine adds; with
    tso, as many more as hold so many bytes."""
    devices = max(1, len(port.members))
    mbufs = devices * (port.queues + 1) * port.descriptors + limits.port_mbufs
    room = max(ROOM_BYTES, port.mtu + FRAME_OVERHEAD_BYTES)
    mbufs += -(-limits.tso_bytes // room) if port.tso else 0
    return mbufs * (limits.mbuf_bytes + room)


def strangers(todo: HostPlan, snapshot: HostSnapshot, host: Host) -> list[str]:
    """Which NUMA nodes have too little memory for the VFs on them, while others have: no obstacle, but slower."""
    free = _free(todo, host)
    if len(free) < 2:
        return []
    needs = {node: need for node, need in _by_node(todo, snapshot, host).items() if node is not None}
    return [
        f"hugepages: the ports on NUMA node {node} need about {-(-need // MIB)} MiB, and {free.get(node, 0) // MIB} "
        f"MiB are free there, so their buffers will lie on another node; reserve more there (hugepages in the "
        f"spec, or {NODE_PAGES % node})"
        for node, need in sorted(needs.items())
        if need > free.get(node, 0)
    ]


def _free(todo: HostPlan, host: Host) -> dict[int, int]:
    """NUMA node to the bytes of hugepages that are free once the plan has reserved what it reserves."""
    now = host.free_hugepages()
    more = coming(todo.all_actions, now)
    return {node: size + more[node] for node, size in now.items()}


def _by_node(todo: HostPlan, snapshot: HostSnapshot, host: Host) -> dict[int | None, int]:
    """How many bytes more the plan's ports take on each NUMA node; None: wherever there are some."""
    costs = [limits for _, limits in sorted(snapshot.limits.items()) if limits.mbuf_bytes]
    by_node: dict[int | None, int] = {}
    for action in _ports(todo, snapshot) if costs else ():
        node = host.node_of(_first_device(action))
        by_node[node] = by_node.get(node, 0) + _bytes(action.after, costs[0]) - _bytes(action.before, costs[0])
    return by_node


def _ports(todo: HostPlan, snapshot: HostSnapshot) -> Iterable[Action]:
    """The ports that come, go or change; one that a new process has again takes the place of the old one's."""
    yield from (action for action in todo.actions if action.kind is Kind.PORT)
    for planned in todo.follows:
        action = planned.action
        if action.kind is Kind.PORT:
            live = snapshot.states[planned.shard].ports if planned.shard in snapshot.states else {}
            yield replace(action, before=action.before or live.get(str(action.key)))


def _first_device(action: Action) -> str:
    """A bond's buffers lie where its first member is."""
    port = action.after or action.before
    return port.members[0] if isinstance(port, Port) and port.members else str(action.key)


def _memory_short(todo: HostPlan, snapshot: HostSnapshot, host: Host) -> Iterable[PlanProblem]:
    """Of the whole host."""
    by_node = _by_node(todo, snapshot, host)
    if not by_node:
        return
    free = _free(todo, host)
    changed = list(_ports(todo, snapshot))
    ports = sum((action.after is not None) - (action.before is not None) for action in changed)
    shards = sum(shard not in snapshot.observations for shard in todo.targets)
    need = sum(by_node.values()) + shards * SHARD_BYTES
    if ports > 0 and need > sum(free.values()):
        yield PlanProblem("hugepages", _words(ports, shards, need, free))


def _bytes(port: object, limits: Limits) -> int:
    return port_bytes(port, limits) if isinstance(port, Port) else 0


def _words(ports: int, shards: int, need: int, free: Mapping[int, int]) -> str:
    whole = number_of(ports, "more port")
    whole += f" and {shards} more engine {'process' if shards == 1 else 'processes'}" if shards else ""
    each = ", ".join(f"node {node}: {size // MIB}" for node, size in sorted(free.items()))
    total = sum(free.values()) // MIB
    return (
        f"hugepages: about {-(-need // MIB)} MiB are needed for {whole}, and {total} MiB are free "
        f"({each}); reserve more (hugepages in the spec, or vm.nr_hugepages), or take out relays"
    )


def _files_short(todo: HostPlan, snapshot: HostSnapshot) -> Iterable[PlanProblem]:
    """Of each engine."""
    for shard, target in todo.targets.items():
        limit = snapshot.limits[shard].files if shard in snapshot.limits else None
        need = files_of(target)
        if limit is not None and need > limit:
            words = (
                f"file descriptors: shard {shard} with {number_of(len(target.relays), 'relay')} needs about {need} "
                f"and may open {limit}; raise it (ulimit -n, or LimitNOFILE= of the unit), and start the engine again"
            )
            yield PlanProblem(f"engine:{shard}", words)


def files_of(target: State) -> int:
    """How many descriptors an engine with these relays may have open."""
    queues = sum(target.ports[relay.port].queues for relay in target.relays.values() if relay.port in target.ports)
    return FILES + FILES_PER_RELAY * len(target.relays) + FILES_PER_QUEUE * queues + len(target.sockets)
