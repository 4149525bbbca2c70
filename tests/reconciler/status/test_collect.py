"""`vio4wd status --json`: the keys that programs read, whatever the types are called that carry them."""

from __future__ import annotations

import json

from engine.api.client import Hello
from engine.api.live import LiveMember, LivePort
from reconciler.policy.pause import Pause
from reconciler.status.collect import HostStatus, WorkerStatus
from reconciler.status.conditions import RelayStatus
from reconciler.status.report import Condition, Report

BOND = LivePort(True, "up", "02:00:00:00:00:01", 1500, False, "net_bonding", 0, members=(LiveMember("a", "up", True),))
LIVE = RelayStatus(
    3, "net_bonding3", "up", "/t/3", True, (1, 2), Condition.READY, "", 1, BOND.members, BOND, since=7.5, owner="ipc"
)
MISSING = RelayStatus(4, "net_null4", "", "/t/4", False, None, Condition.PENDING, "not applied yet")
HELLO = Hello("1.0", "22.11", 0, "b", 5, 77, "no-huge", "ready", {"ports": 32})
WORKERS = (WorkerStatus(1, 0, "running", 2, 0.5), WorkerStatus(2, 0, "running", 0, 0.0, "it runs elsewhere"))


def test_keys_and_values() -> None:
    report = Report(8, "a.yaml", 1.5)
    status = HostStatus((HELLO,), Pause("me", "why", 2.5), True, report, WORKERS, (LIVE, MISSING), 6, ("a fault",))
    found = json.loads(json.dumps(status.to_json()))
    hello = {"version": "1.0", "dpdk": "22.11", "shard": 0, "boot_id": "b", "generation": 5, "pid": 77}
    hello |= {"memory": "no-huge", "state": "ready", "limits": {"ports": 32}}
    assert (found["engine"], found["engines"]) == (hello, [hello])
    assert found["paused"] == {"who": "me", "reason": "why", "since": 2.5}
    assert found["watch"] == {"running": True, **json.loads(json.dumps(report.to_json()))}
    assert found["workers"] == [
        {"cpu": 1, "shard": 0, "state": "running", "entries": 2, "slept": 0.5},
        {"cpu": 2, "shard": 0, "state": "running", "entries": 0, "slept": 0.0, "astray": "it runs elsewhere"},
    ]
    live = {"id": 3, "vf": "net_bonding3", "link": "up", "socket": "/t/3", "guest": True, "cpus": [1, 2]}
    live |= {"condition": "Ready", "message": "", "shard": 1, "members": [{"name": "a", "link": "up", "active": True}]}
    live["port"] = {"mac": "02:00:00:00:00:01", "mtu": 1500, "promiscuous": False, "driver": "net_bonding", "numa": 0}
    live |= {"migrating": False, "since": 7.5, "owner": "ipc"}
    missing = {"id": 4, "vf": "net_null4", "link": "", "socket": "/t/4", "guest": False, "cpus": None}
    missing |= {"condition": "Pending", "message": "not applied yet", "shard": 0, "members": [], "port": {}}
    missing |= {"migrating": False, "since": None, "owner": "file"}
    assert found["relays"] == [live, missing]
    assert (found["idle_sockets"], found["problems"]) == (6, ["a fault"])
    assert len(found) == 8


def test_where_nothing_runs() -> None:
    found = HostStatus((), None, False, None, (), (), 0, ()).to_json()
    assert (found["engine"], found["engines"], found["paused"], found["watch"]) == (None, [], None, None)
