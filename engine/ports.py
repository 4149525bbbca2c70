"""Ports: DPDK devices attached at run time, each with a pool of its own."""

from __future__ import annotations

from dataclasses import dataclass

from engine.burst import layout as at
from engine.dpdk.layout import MAX_ETHPORTS
from engine.dpdk.library import DpdkError
from engine.dpdk.mbuf import ANY_SOCKET, CACHE_MBUFS, Pool
from engine.fault import Refused, refused
from engine.machine import STANDARD_ROOM_BYTES, Machine
from engine.memory import Block
from schema.model import Port

DESCRIPTORS = 1024
"""Of each ring; the driver adjusts it to what the device can."""
STRANDED_MBUFS = CACHE_MBUFS * 3 // 2
"""The most that one lcore's cache holds back after a relay has moved on."""
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
    mac: str
    numa: int
    link_up: bool = False


class Ports:
    """The attached ports by name. Callers see to it that no table has an entry of a port that goes."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._pools_made = 0
        self.by_name: dict[str, Attached] = {}

    def attach(self, port: Port) -> None:
        """Attaches and starts; a failure leaves nothing behind."""
        if port.name in self.by_name or self._machine.ethdevs.port_id(port.name) is not None:
            raise Refused("exists", f"{port.name} is attached already")
        if len(self.by_name) >= MAX_ETHPORTS:
            raise Refused("limit", f"{port.name}: this engine has {MAX_ETHPORTS} ports, the most that this DPDK can")
        block = Block(at.PORT_SIZE)
        self.by_name = {**self.by_name, port.name: self._set_up(port, block)}

    def _set_up(self, port: Port, block: Block) -> Attached:
        ethdevs = self._machine.ethdevs
        try:
            port_id = ethdevs.attach(port.name, port.args)
        except DpdkError as error:
            raise refused(f"{port.name} cannot be attached", error) from error
        try:
            pool = self._pool(port_id)
        except DpdkError as error:
            ethdevs.detach(port_id)
            raise refused(f"{port.name}: no memory for its packet buffers", error) from error
        try:
            ethdevs.start(port_id, pool, DESCRIPTORS, ethdevs.numa_node(port_id))
            info = ethdevs.info(port_id)
        except DpdkError as error:
            ethdevs.detach(port_id)
            self._machine.mbufs.free(pool)
            raise refused(f"{port.name} cannot be started", error) from error
        attached = Attached(port, port_id, pool, block, info.driver, ethdevs.mac(port_id), ethdevs.numa_node(port_id))
        block.write(at.PORT_POOL, pool.address)
        self.look_at_link(attached)
        return attached

    def _pool(self, port_id: int) -> Pool:
        caches = min(CACHES_COVERED, len(self._machine.cpus))
        mbufs = 2 * DESCRIPTORS + 4 * at.BURST + STRANDED_MBUFS * caches
        self._pools_made += 1
        node = self._machine.ethdevs.numa_node(port_id)
        return self._machine.mbufs.create(
            f"port{self._pools_made}", mbufs, STANDARD_ROOM_BYTES, node if node >= 0 else ANY_SOCKET
        )

    def detach(self, name: str) -> None:
        attached = self.require(name)
        self.by_name = {key: value for key, value in self.by_name.items() if key != name}
        try:
            self._machine.ethdevs.detach(attached.id)
        except DpdkError as error:
            raise refused(f"{name} cannot be detached", error) from error
        finally:
            attached.block.write(at.PORT_ID, 0)
            self._machine.mbufs.free(attached.pool)

    def require(self, name: str) -> Attached:
        attached = self.by_name.get(name)
        if attached is None:
            raise Refused("unknown", f"no port {name} is attached")
        return attached

    def look_at_link(self, attached: Attached) -> bool:
        """Reads the link and tells the entries: whether it has changed. Nothing is freed, so nobody waits."""
        up = self._machine.ethdevs.link_up(attached.id)
        changed = up != attached.link_up
        attached.link_up = up
        attached.block.write(at.PORT_ID, attached.id + 1 if up else 0)
        return changed
