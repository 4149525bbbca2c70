"""What owners want and what sources said: kept over restarts, with its time."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from schema import Text, Tree
from state.last_good import keep_readings, kept_readings
from state.relay_requests import claim, claimed_since, put, remove, requests
from state.store import Store


def test_a_request_keeps_its_time_until_it_changes(tmp_path: Path) -> None:
    store = Store(tmp_path)
    put(store, "ipc", 2, {"vf": "a"}, now=1.0)
    put(store, "ovsdb", 1, {"vf": "b"}, now=2.0)
    put(store, "ipc", 2, {"vf": "a"}, now=3.0)
    store.close()
    store = Store(tmp_path)
    assert [(w.owner, w.relay, w.wanted, w.since) for w in requests(store)] == [
        ("ipc", 2, {"vf": "a"}, 1.0),
        ("ovsdb", 1, {"vf": "b"}, 2.0),
    ]
    put(store, "ipc", 2, {"vf": "c"}, now=4.0)
    remove(store, "ovsdb", 1)
    remove(store, "ovsdb", 2)
    assert [(w.owner, w.wanted, w.since) for w in requests(store)] == [("ipc", {"vf": "c"}, 4.0)]
    store.close()


def test_what_the_file_holds_keeps_its_time(tmp_path: Path) -> None:
    store = Store(tmp_path)
    claim(store, ["id 1", "VF a"], now=1.0)
    claim(store, ["id 1", "VF b"], now=2.0)
    assert claimed_since(store) == {"id 1": 1.0, "VF b": 2.0}
    claim(store, [])
    assert claimed_since(store) == {}
    store.close()


def test_who_came_first_stays_so_when_the_clock_is_set_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is at the start of many a host, whose clock is right only once its network is there."""
    store = Store(tmp_path)
    claim(store, ["VF net_null1"])
    put(store, "port-control", 5, {"vf": "net_null5"})
    monkeypatch.setattr(time, "time", lambda: 1_000_000.0)
    put(store, "ovsdb", 1, {"vf": "net_null1"})
    claim(store, ["VF net_null1", "VF net_null2"])
    assert [request.owner for request in requests(store)] == ["port-control", "ovsdb"]
    had = claimed_since(store)
    assert had["VF net_null1"] < requests(store)[0].since < requests(store)[1].since < had["VF net_null2"]
    store.close()


def test_readings_are_kept_whole_and_forgotten_with_their_source(tmp_path: Path) -> None:
    store = Store(tmp_path)
    tree = Tree((Text("a", b"1"), Text("b", "ü".encode())), Text("c", b"3"))
    keep_readings(store, {"x": ("r1", tree), "y": ("", Tree((), None))}, now=1.0)
    keep_readings(store, {"x": ("r1", tree)}, now=2.0)
    assert {name: (k.revision, k.tree, k.since) for name, k in kept_readings(store).items()} == {"x": ("r1", tree, 1.0)}
    keep_readings(store, {"x": ("r2", tree)}, now=3.0)
    assert [(k.revision, k.since) for k in kept_readings(store).values()] == [("r2", 3.0)]
    store.close()
