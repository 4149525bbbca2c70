"""When buffers follow a guest to another NUMA node.

This machine may have one node and no VF: both are made up here, and tests/sriov has real ones. In a process of its own
because it imports the loops.
"""

from __future__ import annotations

from typing import Any
from unittest.mock import MagicMock

from engine.burst.compiled.cache import numba_cache
from engine.dpdk import library
from schema.model import Pin, Port, Relay, Socket
from schema.paths import cache_dir

with numba_cache(cache_dir(), library.load().version):
    from engine.burst.compiled.memory import Block
    from engine.dataplane.ports import Attached
    from engine.dataplane.relays import LiveRelay
    from engine.dataplane.sockets import OpenSocket
    from engine.dpdk.mbuf import Pool
    from engine.engine import EngineCore

HERE, THERE = Pool("here", 1, 1), Pool("there", 2, 1)
PATH = "/tmp/1.sock"


def core_with(port: Port, several: bool = True) -> Any:
    """An engine with one relay: its buffers are on node 0, its first guest's memory on node 1."""
    core: Any = EngineCore.__new__(EngineCore)
    block, attached = Block(64), Attached(port, 0, HERE, Block(64), "", 0, buffers=0)
    core.workers, core.captures, core.ports = MagicMock(), MagicMock(), MagicMock()
    core.sockets, core.relays, core._context = MagicMock(), MagicMock(), MagicMock()
    core._unclaimed = False
    core._context.numa.several = several
    core.relays.by_id = {1: LiveRelay(Relay(1, port.name, PATH), Pin(1, 1, 1), block, block, block)}
    core.ports.by_name = {port.name: attached}
    core.ports.look_at_link.return_value = False
    core.ports.pool_on.return_value = THERE
    core.sockets.by_path = {PATH: OpenSocket(Socket(PATH), 0, located=(1, 1))}
    core.sockets.locate.return_value = 1
    return core


def test_once_for_each_guest() -> None:
    core = core_with(Port("0000:05:08.1"))
    attached = core.ports.by_name["0000:05:08.1"]
    core.housekeeping(0.0)
    core.housekeeping(0.2)
    core.ports.pool_on.assert_called_once_with(attached, 1)
    core.ports.change_pool.assert_called_once_with(attached, THERE)
    core.sockets.by_path[PATH].located = (2, 1)
    core.housekeeping(0.4)
    assert core.ports.change_pool.call_count == 2


def test_without_memory_there_nobody_is_stopped() -> None:
    core = core_with(Port("0000:05:08.1"))
    core.ports.pool_on.return_value = None
    core.housekeeping(0.0)
    core.ports.change_pool.assert_not_called()
    core.relays.quiet.assert_not_called()


def test_a_bond_only_if_all_its_members_are_vfs() -> None:
    members = "0000:05:08.1", "0000:05:08.2"
    core = core_with(Port("net_bonding0", bond_mode="balance", members=members))
    core.housekeeping(0.0)
    core.ports.change_pool.assert_called_once()
    core = core_with(Port("net_bonding0", bond_mode="balance", members=(*members, "net_af_packet0,iface=veth1")))
    core.housekeeping(0.0)
    core.ports.pool_on.assert_not_called()


def test_no_device_of_the_kernels() -> None:
    core = core_with(Port("net_af_packet0", "iface=veth1"))
    core.housekeeping(0.0)
    core.ports.pool_on.assert_not_called()


def test_a_host_with_one_node_is_asked_nothing() -> None:
    core = core_with(Port("0000:05:08.1"), several=False)
    core.housekeeping(0.0)
    core.sockets.locate.assert_not_called()
