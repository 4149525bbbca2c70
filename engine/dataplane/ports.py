"""Ports: DPDK devices attached at run time, each with a pool of its own."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from engine.api.fault import Refused, refused
from engine.burst.compiled import layout as at
from engine.burst.compiled.memory import CACHE_LINE_BYTES, Block
from engine.dataplane.bonds import Bond, Bonds, dpdk_port_names
from engine.dataplane.carrier import Interfaces, interface_of
from engine.dataplane.pci import Functions
from engine.dpdk.error_causes import why
from engine.dpdk.ethdev import PortStats, Setup, Started
from engine.dpdk.layout import ETHER_OVERHEAD_BYTES, MAX_ETHPORTS
from engine.dpdk.library import DpdkError
from engine.dpdk.mbuf import ANY_SOCKET, CACHE_MBUFS, STANDARD_ROOM_BYTES, Pool
from schema.model import Port
from schema.nodes import shorten
from schema.rules.host_policy import device_refusal, in_force
from schema.vf import is_bond_name

if TYPE_CHECKING:  # importing it compiles, which nothing here needs
    from engine.dataplane.context import Context

log = logging.getLogger("vio4wd.engine")
STRANDED_MBUFS = CACHE_MBUFS * 3 // 2
"""The most that one lcore's cache holds back after a relay has moved on."""
VLAN_TAGS_BYTES = 8
STAGED_MBUFS = 8 * at.STAGE
"""For what waits for a guest's slow queues; with more of them the NIC drops a little earlier."""
MBUF_OVERHEAD_BYTES = 384
"""rte_mbuf, headroom, the pool's header, and what it pads to spread buffers over memory channels."""
LONG_FRAMES_BYTES = at.BURST * 66 * 1024
"""A burst of the longest frames that guests hand over to be cut, each in a chain of buffers."""
CACHES_COVERED = 8
"""So many of those a pool has to spare, or one a CPU where there are fewer."""


@dataclass(slots=True)
class Attached:
    """A port that DPDK has."""

    port: Port
    id: int
    pool: Pool
    block: Block
    """What its entries read: gone and link down look alike to them."""
    driver: str
    numa: int
    mac: str = ""
    link_up: bool = False
    mtu: int = 0
    promiscuous: bool = False
    bond: Bond | None = None
    checksums: bool = False
    """Whether the device finishes checksums itself."""
    tso: bool = False
    """Whether the device cuts long TCP frames itself."""
    buffers: int | None = None
    """The NUMA node of its pool; None where there is only one."""
    follows: tuple[str, int, int | None] | None = None
    """Whose memory was last looked at: a socket's path, which guest on it, counted from 1, and that one's node."""
    upheaval: threading.Lock = field(default_factory=threading.Lock)
    """Held while its devices are stopped, leave or go: DPDK reads a device's counters without looking whether it is
    being closed, and the process ends by SIGSEGV."""


def room_bytes(port: Port) -> int:
    """How large the buffers are that a port receives into: a frame whole, or what its driver insists on."""
    whole = port.mtu + ETHER_OVERHEAD_BYTES + VLAN_TAGS_BYTES
    framed = [re.search(r",framesz=(\d+)", device) for device in devices(port) if device.startswith("net_af_packet")]
    insisted = max((int(named[1]) for named in framed if named), default=0)
    return max(STANDARD_ROOM_BYTES, -(-whole // CACHE_LINE_BYTES) * CACHE_LINE_BYTES, insisted)


def devices(port: Port) -> tuple[str, ...]:
    """What is polled, as DPDK is given it: `name,arguments`; of a bond its members."""
    return port.members or (f"{port.name},{port.args}" if port.args else port.name,)


class Ports:
    """The attached ports by name. Callers see to it that no table has an entry of a port that goes."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._pools_made = 0
        self._functions = Functions()
        self._interfaces = Interfaces()
        self.bonds = Bonds(context, self._interfaces)
        self.by_name: dict[str, Attached] = {}

    def attach(self, port: Port) -> None:
        """Attaches and starts; a failure leaves nothing behind."""
        self._check_allowed(port)
        self._check_new(dpdk_port_names(port))
        self._check_room(port)
        self._check_interfaces(port)
        block = Block(at.PORT_SIZE)
        self.by_name = {**self.by_name, port.name: self._set_up(port, block)}
        self._interfaces.note(devices(port))

    def _check_allowed(self, port: Port) -> None:
        """Refuses what no spec may name, in case that it comes from elsewhere: a plan that was kept, or whoever may
        connect to the engine."""
        policy = in_force()
        if port.bond_mode and not is_bond_name(port.name):
            raise Refused("bad-request", f"{shorten(port.name)} is no name of a bond; it begins with net_bonding")
        for name, _, args in (device.partition(",") for device in devices(port)):
            if against := device_refusal(Port(name, args), policy):
                raise Refused("not-allowed", f"{shorten(name)} is not attached: {against}; {policy.words}")

    def _check_new(self, names: Iterable[str]) -> None:
        for name in names:
            if name in self.by_name or self._context.ethdevs.port_id(name) is not None:
                raise Refused("exists", f"{name} is attached already")

    def _check_interfaces(self, port: Port) -> None:
        """An interface has several names (ip link property add altname), and the spec may not know that."""
        others = [each for name, held in self.by_name.items() if name != port.name for each in devices(held.port)]
        for device in devices(port):
            other = self._interfaces.same(device, others)
            if other:
                same = f"{device} has the same network interface as {other}, which is polled already"
                raise Refused("in-use", f"{same}; give each its own")

    def _check_room(self, port: Port) -> None:
        """Refuses what needs more DPDK ports than there are, with the arithmetic."""
        others = sum(len(dpdk_port_names(each.port)) for name, each in self.by_name.items() if name != port.name)
        needed = len(dpdk_port_names(port))
        if others + needed > MAX_ETHPORTS:
            bond = f" (a bond and its {needed - 1} members)" if port.bond_mode else ""
            raise Refused(
                "limit",
                f"{port.name} takes {needed} ports{bond} and {others} are in use: "
                f"{others} + {needed} is more than the {MAX_ETHPORTS} of this DPDK",
            )

    def _set_up(self, port: Port, block: Block) -> Attached:
        bond = self.bonds.make(port) if port.bond_mode else None
        port_id = bond.id if bond else self._attach_device(port)
        try:
            pool = self._new_pool(port, port_id)
        except Refused:
            self._abandon(port.name, port_id, bond)
            raise
        try:
            return self._started(port, port_id, bond, pool, block)
        except Refused:
            self._abandon(port.name, port_id, bond)
            self._context.mbufs.free(pool)
            raise

    def _new_pool(self, port: Port, port_id: int) -> Pool:
        node = self._context.ethdevs.numa_node(port_id)
        try:
            return self._context.mbufs.create_near(*self._pool(port), node if node >= 0 else ANY_SOCKET)
        except DpdkError as error:
            raise refused(f"{port.name}: no memory for its packet buffers", error) from error

    def _started(self, port: Port, port_id: int, bond: Bond | None, pool: Pool, block: Block) -> Attached:
        ethdevs = self._context.ethdevs
        try:
            started, info = self._start(port, port_id, pool), ethdevs.info(port_id)
        except DpdkError as error:
            hint = " (a member may lack what bonding needs)" if bond else ""
            raise refused(f"{port.name} cannot be started{hint}", error) from error
        attached = Attached(port, port_id, pool, block, info.driver, numa=ethdevs.numa_node(port_id))
        attached.checksums, attached.tso = started.checksums, started.tso
        self._use(attached, pool)
        block.write(at.PORT_QUEUES, started.queues)
        if bond:
            self._bonded(attached, bond)
        self.look_at_link(attached)
        return attached

    def _abandon(self, name: str, port_id: int, bond: Bond | None) -> None:
        """After a failure, of which more is to be said than of what goes wrong here."""
        try:
            self._give_back(port_id, bond)
        except Refused as reason:
            log.error("%s could not be released again: %s", name, reason)
        except DpdkError as error:
            log.error("%s could not be released again: %s", name, why(error).sentence)

    def _start(self, port: Port, port_id: int, pool: Pool) -> Started:
        """Raises DpdkError."""
        ethdevs = self._context.ethdevs
        setup = Setup(port.descriptors, port.queues, port.mtu, port.checksums, port.tso)
        return ethdevs.start(port_id, pool, setup, ethdevs.numa_node(port_id))

    def _use(self, attached: Attached, pool: Pool) -> None:
        attached.pool, attached.buffers = pool, self._context.numa.node_of(pool.address)
        attached.block.write(at.PORT_POOL, pool.address)

    def _attach_device(self, port: Port) -> int:
        try:
            return self._context.ethdevs.attach(port.name, port.args)
        except DpdkError as error:
            raise refused(f"{port.name} cannot be attached", error, devices(port)[0]) from error

    def _bonded(self, attached: Attached, bond: Bond) -> None:
        """What a bond has beyond a device; its members run now."""
        attached.bond = bond
        attached.block.write(at.PORT_SERVICE, self.bonds.service_cycles(bond))
        self.bonds.started(bond)
        if self.bonds.look(bond):
            self.join_and_part(attached)

    def _give_back(self, port_id: int, bond: Bond | None) -> None:
        """Raises DpdkError or Refused."""
        if bond:
            self.bonds.dissolve(bond)
        else:
            self._context.ethdevs.detach(port_id)

    def change_members(self, port: Port) -> None:
        """Gives a bond other members, or another order; what it has then is on record, also when it is refused."""
        attached = self.require(port.name)
        if not attached.bond or replace(attached.port, members=port.members) != port:
            raise Refused("unsupported", f"{port.name}: only a bond's members can be changed in place; replace it")
        self._check_allowed(port)
        self._check_new(set(dpdk_port_names(port)) - set(dpdk_port_names(attached.port)))
        self._check_room(port)
        self._check_interfaces(port)
        before = attached.port.members
        try:
            with attached.upheaval:
                self.bonds.change(attached.bond, port.members)
        finally:
            attached.port = replace(port, members=tuple(member.device for member in attached.bond.members))
            self._interfaces.note(set(attached.port.members) - set(before))
        if self.bonds.look(attached.bond):
            self.join_and_part(attached)

    def join_and_part(self, attached: Attached) -> None:
        """Takes a bond's members in or out as their links want it. No table may have an entry of it."""
        assert attached.bond is not None
        with attached.upheaval:
            self.bonds.join_and_part(attached.bond)

    def stats(self, name: str) -> PortStats | None:
        """What the NIC counted itself; None when it can't say, or is just being changed. From any thread."""
        attached = self.by_name.get(name)
        if attached is None or not attached.upheaval.acquire(blocking=False):
            return None
        try:
            present = self.by_name.get(name) is attached
            return self._context.ethdevs.stats(attached.id) if present else None
        except DpdkError:
            return None
        finally:
            attached.upheaval.release()

    def costs(self) -> dict[str, int]:
        """What a port's buffers cost: one for each descriptor of each device's queues (of which it has one more than
        it receives on), so many for the port, each of so many bytes beyond the frame's room; with tso, as many more
        as hold so many bytes."""
        caches = min(CACHES_COVERED, len(self._context.cpus))
        port_mbufs = 4 * at.BURST + STAGED_MBUFS + STRANDED_MBUFS * caches
        return {"port_mbufs": port_mbufs, "mbuf_bytes": MBUF_OVERHEAD_BYTES, "tso_bytes": LONG_FRAMES_BYTES}

    def _pool(self, port: Port) -> tuple[str, int, int]:
        """Of its pool: a name of its own, how many buffers, and how large they are."""
        mbufs = len(devices(port)) * (port.queues + 1) * port.descriptors + self.costs()["port_mbufs"]
        mbufs += -(-LONG_FRAMES_BYTES // room_bytes(port)) if port.tso else 0
        self._pools_made += 1
        return f"port{self._pools_made}", mbufs, room_bytes(port)

    def pool_on(self, attached: Attached, node: int) -> Pool | None:
        """A pool for this port on another NUMA node, not in use yet; None, which is noted, without memory there."""
        try:
            return self._context.mbufs.create(*self._pool(attached.port), node)
        except DpdkError as error:
            log.warning(
                "%s: its buffers cannot follow its guest to node %d: %s", attached.port.name, node, why(error).sentence
            )
            attached.pool = replace(attached.pool, short_of=node)
            return None

    def change_pool(self, attached: Attached, pool: Pool) -> None:
        """Stops a port and starts it with another pool, or with the one that it had. No table may have an entry of
        it. What it has received and nobody has taken is lost. Raises Refused, and releases one that won't start."""
        former = attached.pool
        try:
            self._restart(attached, pool)
        except DpdkError as error:
            pool, former = former, pool
            try:
                self._restart(attached, pool)
            except DpdkError:
                self._context.mbufs.free(former)
                self.detach(attached.port.name)
                raise refused(f"{attached.port.name} cannot be started again", error) from error
            log.error("%s: its buffers stay where they are: %s", attached.port.name, why(error).sentence)
        self._use(attached, pool)
        self._context.mbufs.free(former)
        if attached.bond:
            self.bonds.started(attached.bond)

    def _restart(self, attached: Attached, pool: Pool) -> None:
        """Raises DpdkError, with the port stopped."""
        with attached.upheaval:
            self._context.ethdevs.stop(attached.id)
            self._start(attached.port, attached.id, pool)

    def detach(self, name: str) -> None:
        attached = self.require(name)
        self.by_name = {key: value for key, value in self.by_name.items() if key != name}
        try:
            with attached.upheaval:
                self._give_back(attached.id, attached.bond)
        except DpdkError as error:
            raise refused(f"{name} cannot be detached", error) from error
        finally:
            attached.block.write(at.PORT_ID, 0)
            self._context.mbufs.free(attached.pool)

    def gone(self) -> list[tuple[str, str]]:
        """Devices that were taken from under the engine, each after its port's name. Reads sysfs only."""
        polled = [device for attached in self.by_name.values() for device in devices(attached.port)]
        before = self._interfaces.renamed
        lost = [device.partition(",")[0] for device in self._interfaces.gone(polled)]
        for device, name in self._interfaces.renamed.items():
            if before.get(device) != name:
                log.warning("the interface of %s is called %s now; it goes on being polled", device, name)
        holders = {device: name for name, attached in self.by_name.items() for device in dpdk_port_names(attached.port)}
        return [(holders[device], device) for device in self._functions.gone(holders) + lost]

    def renamed(self, attached: Attached) -> dict[str, str]:
        """What interfaces below it are called now, by the name that the spec has for them. From any thread."""
        names = self._interfaces.renamed
        return {interface_of(device) or "": names[device] for device in devices(attached.port) if device in names}

    def lose(self, name: str, device: str) -> None:
        """Releases a device that has gone: a bond goes on without that member, if it has others. Raises Refused."""
        port = self.require(name).port
        others = tuple(member for member in port.members if member.partition(",")[0] != device)
        if others:
            self.change_members(replace(port, members=others))
        else:
            self.detach(name)

    def require(self, name: str) -> Attached:
        attached = self.by_name.get(name)
        if attached is None:
            raise Refused("unknown", f"no port {name} is attached")
        return attached

    def look_at_link(self, attached: Attached) -> bool:
        """Reads the link and tells the entries: whether it has changed. Nothing is freed, so nobody waits."""
        ethdevs = self._context.ethdevs
        attached.mac, attached.mtu = ethdevs.mac(attached.id), ethdevs.mtu(attached.id)
        attached.promiscuous = ethdevs.promiscuous(attached.id)
        up = attached.bond.link_up if attached.bond else ethdevs.link_up(attached.id)
        changed = up != attached.link_up
        attached.link_up = up
        attached.block.write(at.PORT_ID, attached.id + 1 if up else 0)
        return changed
