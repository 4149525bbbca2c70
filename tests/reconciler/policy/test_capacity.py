"""What a host has too little of is said before anything is tried, with the arithmetic."""

from __future__ import annotations

import pytest

from engine.api.live import Limits
from reconciler.host.host import ThisHost
from reconciler.host.refusal import SpecUnfit
from reconciler.observe.engines import HostSnapshot
from reconciler.planning.host_plan import plan_host
from reconciler.policy.capacity import MIB, port_bytes, refuse, shortages, strangers
from schema.model import Port
from tests.kit.fakes.fake_engine import FakeEngine, LocalClient
from tests.kit.fakes.table_host import TableHost
from tests.kit.relay_states import wanted

COSTS = {"port_mbufs": 1664, "mbuf_bytes": 384, "tso_bytes": 2 * MIB}
LIMITS = Limits(**COSTS)
"""As an engine on two CPUs says it: some 8.6 MiB for a port with one queue."""


def seen(*live: int, **limits: int) -> HostSnapshot:
    observation = LocalClient(FakeEngine.of(wanted(*live, pins=dict.fromkeys(live, 1)))).observe()
    return HostSnapshot({0: observation}, {}, {0: Limits(32, **limits)})


def test_ports_cost_by_queues_members_and_frames() -> None:
    one = port_bytes(Port("a"), LIMITS)
    assert 8 * MIB < one < 9 * MIB
    assert port_bytes(Port("a", queues=2), LIMITS) - one == 1024 * 2432
    assert port_bytes(Port("a", descriptors=512), LIMITS) == one - 2 * 512 * 2432
    assert port_bytes(Port("b", members=("m", "n")), LIMITS) > one
    assert port_bytes(Port("a", mtu=9000), LIMITS) > 3 * one
    assert port_bytes(Port("a", tso=True), LIMITS) - one == 1024 * 2432


def test_hugepages() -> None:
    snapshot = seen(1, **COSTS)
    todo = plan_host(wanted(1, *range(10, 20)), snapshot)
    assert shortages(todo, snapshot, TableHost(free={0: 50 * MIB, 1: 50 * MIB})) == ()
    with pytest.raises(SpecUnfit) as refused:
        refuse(shortages(todo, snapshot, TableHost(free={0: 20 * MIB, 1: 30 * MIB})))
    said = "about 87 MiB are needed for 10 more ports, and 50 MiB are free (node 0: 20, node 1: 30)"
    assert said in str(refused.value)


def test_a_node_with_too_little_is_named_and_no_obstacle() -> None:
    snapshot = seen(**COSTS)
    todo = plan_host(wanted(*range(4)), snapshot)
    nodes = dict.fromkeys(wanted(*range(4)).ports, 1)
    host = TableHost(free={0: 500 * MIB, 1: 20 * MIB}, nodes=nodes)
    assert shortages(todo, snapshot, host) == ()
    (said,) = strangers(todo, snapshot, host)
    assert "the ports on NUMA node 1 need about 35 MiB, and 20 MiB are free there" in said
    assert "/sys/devices/system/node/node1/hugepages" in said
    assert strangers(todo, snapshot, TableHost(free={0: 500 * MIB, 1: 40 * MIB}, nodes=nodes)) == []
    assert strangers(todo, snapshot, TableHost(free={0: 20 * MIB}, nodes=dict.fromkeys(nodes, 0))) == []


def test_further_engines_cost_too() -> None:
    snapshot = seen(**COSTS)
    todo = plan_host(wanted(*range(40)), snapshot)
    (short,) = shortages(todo, snapshot, TableHost(free={0: 350 * MIB}))
    assert "needed for 40 more ports and 1 more engine process, and" in short.problem


def test_who_only_takes_away_is_never_short() -> None:
    snapshot = seen(1, 2, 3, **COSTS)
    assert shortages(plan_host(wanted(1), snapshot), snapshot, TableHost(free={0: 0})) == ()


def test_file_descriptors() -> None:
    snapshot = seen(files=256)
    (short,) = shortages(plan_host(wanted(*range(20)), snapshot), snapshot, TableHost())
    assert "shard 0 with 20 relays needs about 564 and may open 256" in short.problem


def test_an_engine_that_does_not_say_is_not_reckoned_with() -> None:
    snapshot = seen()
    assert shortages(plan_host(wanted(*range(20)), snapshot), snapshot, TableHost(free={})) == ()


def test_this_host_knows_its_hugepages() -> None:
    assert all(size >= 0 for size in ThisHost().free_hugepages().values())
    assert ThisHost().node_of("net_null0") is None
