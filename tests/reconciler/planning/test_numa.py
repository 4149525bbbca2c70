"""On a host with several NUMA nodes: who is where is learnt from host and engine, and counts in plan and status.

Where relays are placed stands in cases/two-nodes*.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import schema
from engine.api.client import EngineClient, Observation
from engine.api.live import Live
from reconciler.desired.from_spec import desired
from reconciler.observe.engines import HostSnapshot
from reconciler.planning.shards import allot
from reconciler.status.conditions import relay_statuses
from schema.model import Key, Kind
from schema.system.typed_json import decoded
from tests.kit.fakes.fake_engine import FakeEngine, Served
from tests.kit.fakes.table_host import TableHost
from tests.kit.relay_states import wanted

SPEC = """
apiVersion: vio4wd/v1
engine: {main_cpu: 0, worker_cpus: [1, 2]}
relays:
  - {id: 1, vf: "0000:05:08.1"}
  - {id: 2, bond: {name: net_bonding0, members: ["0000:85:08.1", "0000:05:08.2"]}}
  - {id: 3, vf: "0000:05:08.3"}
  - {id: 4, vf: net_null0}
"""
NODES = {"0000:05:08.1": 0, "0000:05:08.2": 0, "0000:85:08.1": 1}


def test_workers_and_ports_are_on_nodes() -> None:
    spec = schema.parse(SPEC.encode(), "f")
    host = TableHost(nodes=NODES, cpus_on={0: 0, 1: 0, 2: 1, 3: 1})
    assert desired(spec, host).nodes == {
        (Kind.WORKER, 1): 0,
        (Kind.WORKER, 2): 1,
        (Kind.PORT, "0000:05:08.1"): 0,
        (Kind.PORT, "net_bonding0"): 1,
    }
    assert desired(spec, TableHost(nodes=NODES)).nodes == {}, "with one node there is nothing to tell apart"


def test_guests_are_on_nodes() -> None:
    engine = FakeEngine.of(wanted(1, 2, pins={1: 1, 2: 1}))
    with tempfile.TemporaryDirectory(prefix="v4-") as name:
        run_dir = Path(name)
        with Served(engine, run_dir), EngineClient(run_dir) as client:
            assert client.observe().state.nodes == {}
            engine.nodes = {"/tmp/2.sock": 1}
            assert client.observe().state.nodes == {(Kind.SOCKET, "/tmp/2.sock"): 1}


def test_shards_get_cpus_where_their_vfs_are() -> None:
    homes = {id_: id_ // 4 for id_ in range(8)}
    target = wanted(*range(8), cpus=(1, 2, 3, 4))
    cpus: dict[tuple[Kind, Key], int] = {(Kind.WORKER, cpu): node for cpu, node in ((1, 0), (2, 0), (3, 1), (4, 1))}
    apart: dict[tuple[Kind, Key], int] = {(Kind.PORT, f"net_null{id_}"): 1 - id_ // 4 for id_ in range(8)}
    assert allot(replace(target, nodes={**cpus, **apart}), homes, {}) == {0: {3, 4}, 1: {1, 2}}
    mixed: dict[tuple[Kind, Key], int] = {(Kind.PORT, f"net_null{id_}"): id_ % 2 for id_ in range(8)}
    assert allot(replace(target, nodes={**cpus, **mixed}), homes, {}) == {0: {1, 3}, 1: {2, 4}}


def status(port: dict[str, Any], socket: dict[str, Any]) -> tuple[str, str]:
    live = {
        "ports": {"net_null1": {"present": True, "link": "up", **port}},
        "sockets": {"/tmp/1.sock": {"guest": True, **socket}},
    }
    seen = Observation("b", 1, wanted(1, pins={1: 1}), decoded(Live, live))
    [found] = relay_statuses(HostSnapshot({0: seen}), None)
    return str(found.condition), found.message


def test_buffers_that_could_not_follow_are_a_condition() -> None:
    there = {"buffers": 0, "short_of": None}
    assert status(there, {"node": 0}) == ("Ready", "")
    assert status(there, {"node": 1}) == ("Ready", ""), "they are about to follow, or are a virtual device's"
    assert status({"buffers": 0, "short_of": 1}, {"guest": False, "node": None})[0] == "Pending"
    condition, message = status({"buffers": 0, "short_of": 1}, {"node": 1})
    assert condition == "Degraded"
    assert message == (
        "numa: guest on node 1, buffers on node 0: no free hugepages there when it connected; "
        "reserve more in /sys/devices/system/node/node1/hugepages, then connect the guest again"
    )
