"""Ports over devices that fail, or are being read, while they go: their ethdevs only note what they are asked. No DPDK
is needed; tests/live has the real ones."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from engine.api.fault import Refused
from engine.dataplane.ports import Ports
from engine.dpdk.ethdev import PortInfo, PortStats, Setup, Started
from engine.dpdk.library import DpdkError
from engine.dpdk.mbuf import Pool
from schema.model import Port
from tests.kit.waiting import wait_for

VF = Port("net_null0")
COUNTED = PortStats(1, 2, 3, 4)


@dataclass
class NotingEthdevs:
    """One device, port 0. Calls whose name is in `broken` fail."""

    broken: set[str] = field(default_factory=set)
    attached: bool = False
    running: bool = False
    reading: threading.Event = field(default_factory=threading.Event)
    """Set while counters are being read, which takes until `finish`."""
    finish: threading.Event = field(default_factory=threading.Event)
    wrongs: list[str] = field(default_factory=list)

    def _may_fail(self, call: str) -> None:
        if call in self.broken:
            raise DpdkError(call, 5)

    def port_id(self, _name: str) -> int | None:
        return 0 if self.attached else None

    def attach(self, _name: str, _args: str) -> int:
        self.attached = True
        return 0

    def numa_node(self, _port: int) -> int:
        return -1

    def start(self, _port: int, _pool: Pool, setup: Setup, _node: int) -> Started:
        self._may_fail("start")
        self.running = True
        return Started(setup.queues, checksums=False, tso=False)

    def stop(self, _port: int) -> None:
        self._look_for_readers("stopped")
        self.running = False

    def detach(self, _port: int) -> None:
        self._look_for_readers("detached")
        self.attached = self.running = False
        self._may_fail("detach")

    def _look_for_readers(self, what: str) -> None:
        if self.reading.is_set():
            self.wrongs.append(f"{what} while its counters were read")

    def info(self, _port: int) -> PortInfo:
        return PortInfo("net_null", 1, 1, 0, 0, 0, 9000)

    def stats(self, _port: int) -> PortStats:
        if not self.attached:
            self.wrongs.append("the counters of a device that is gone were read")
        self.reading.set()
        self.finish.wait(60)
        self.reading.clear()
        return COUNTED

    def mac(self, _port: int) -> str:
        return "02:00:00:00:00:01"

    def mtu(self, _port: int) -> int:
        return 1500

    def promiscuous(self, _port: int) -> bool:
        return True

    def link_up(self, _port: int) -> bool:
        return True


@dataclass
class NotingMbufs:
    out_of_memory: bool = False
    live: list[str] = field(default_factory=list)

    def create_near(self, name: str, mbufs: int, _room_bytes: int, _node: int) -> Pool:
        if self.out_of_memory:
            raise DpdkError("rte_pktmbuf_pool_create", 12)
        self.live.append(name)
        return Pool(name, 0, mbufs)

    def free(self, pool: Pool) -> None:
        self.live.remove(pool.name)


class Bench:
    def __init__(self) -> None:
        self.ethdevs, self.mbufs = NotingEthdevs(), NotingMbufs()
        numa = SimpleNamespace(node_of=lambda _address: None)
        context = SimpleNamespace(ethdevs=self.ethdevs, mbufs=self.mbufs, numa=numa, cpus=frozenset({0, 1}))
        self.ports = Ports(cast(Any, context))

    def counted_by_another(self) -> threading.Thread:
        """A thread that is in the midst of reading the counters."""
        reader = threading.Thread(target=self.ports.stats, args=(VF.name,))
        reader.start()
        assert self.ethdevs.reading.wait(60)
        return reader


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_failure_leaves_nothing_behind(bench: Bench) -> None:
    bench.mbufs.out_of_memory = True
    with pytest.raises(Refused, match="no memory for its packet buffers"):
        bench.ports.attach(VF)
    bench.mbufs.out_of_memory = False
    bench.ethdevs.broken = {"start"}
    with pytest.raises(Refused, match="cannot be started"):
        bench.ports.attach(VF)
    assert (bench.ethdevs.attached, bench.mbufs.live, bench.ports.by_name) == (False, [], {})
    bench.ethdevs.broken = set()
    bench.ports.attach(VF)
    assert list(bench.ports.by_name) == [VF.name]


@pytest.mark.parametrize(
    "port",
    [
        Port("net_failsafe0", "exec(id)"),
        Port("net_pcap0", "tx_pcap=/etc/passwd"),
        Port("net_null0", "size=60000"),
        Port("0000:05:00.1", "ddp_pkg_file=/tmp/x"),
        Port("net_bonding0", bond_mode="active-backup", members=("net_null0", "net_failsafe0,exec(id)")),
        Port("net_failsafe0,exec(id)", bond_mode="active-backup", members=("net_null0",)),
        Port("vdev:net_failsafe0", "exec(id)"),
    ],
    ids=lambda port: port.name,
)
def test_what_no_spec_may_name_never_reaches_dpdk(bench: Bench, port: Port) -> None:
    """A kept plan, or another client of the engine's socket, may have it."""
    with pytest.raises(Refused) as caught:
        bench.ports.attach(port)
    assert caught.value.code in ("not-allowed", "bad-request")
    assert not bench.ethdevs.attached


@pytest.mark.parametrize("out_of_memory", [True, False])
def test_what_cannot_be_undone_either_keeps_no_memory_and_hides_no_reason(bench: Bench, out_of_memory: bool) -> None:
    bench.ethdevs.broken = {"start", "detach"}
    bench.mbufs.out_of_memory = out_of_memory
    with pytest.raises(Refused, match="no memory for" if out_of_memory else "cannot be started"):
        bench.ports.attach(VF)
    assert bench.mbufs.live == []


def test_a_device_waits_until_its_counters_are_read(bench: Bench) -> None:
    """DPDK has no lock there: it ended by SIGSEGV when both met."""
    bench.ports.attach(VF)
    reader = bench.counted_by_another()
    leaving = threading.Thread(target=bench.ports.detach, args=(VF.name,))
    leaving.start()
    wait_for("the detaching", lambda: not bench.ports.by_name)
    assert bench.ports.stats(VF.name) is None  # at once
    bench.ethdevs.finish.set()
    for thread in (reader, leaving):
        thread.join(60)
    assert bench.ports.stats(VF.name) is None
    assert (bench.ethdevs.attached, bench.ethdevs.wrongs) == (False, [])


def test_so_does_one_that_gets_other_buffers(bench: Bench) -> None:
    bench.ports.attach(VF)
    reader = bench.counted_by_another()
    other = Pool("other", 1, 1)
    changing = threading.Thread(target=bench.ports.change_pool, args=(bench.ports.require(VF.name), other))
    changing.start()
    bench.ethdevs.finish.set()
    for thread in (reader, changing):
        thread.join(60)
    assert (bench.ethdevs.wrongs, bench.ports.stats(VF.name)) == ([], COUNTED)
