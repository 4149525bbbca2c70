"""What owners want and what sources said: kept over restarts, with its time."""

from __future__ import annotations

from pathlib import Path

from schema import Text, Tree
from state.readings import keep, kept
from state.store import Store
from state.wishes import held, hold, put, remove, wishes


def test_a_wish_keeps_its_time_until_it_changes(tmp_path: Path) -> None:
    store = Store(tmp_path)
    put(store, "ipc", 2, {"vf": "a"}, now=1.0)
    put(store, "ovsdb", 1, {"vf": "b"}, now=2.0)
    put(store, "ipc", 2, {"vf": "a"}, now=3.0)
    store.close()
    store = Store(tmp_path)
    assert [(w.owner, w.relay, w.wanted, w.since) for w in wishes(store)] == [
        ("ipc", 2, {"vf": "a"}, 1.0),
        ("ovsdb", 1, {"vf": "b"}, 2.0),
    ]
    put(store, "ipc", 2, {"vf": "c"}, now=4.0)
    remove(store, "ovsdb", 1)
    remove(store, "ovsdb", 2)
    assert [(w.owner, w.wanted, w.since) for w in wishes(store)] == [("ipc", {"vf": "c"}, 4.0)]
    store.close()


def test_what_the_file_holds_keeps_its_time(tmp_path: Path) -> None:
    store = Store(tmp_path)
    hold(store, ["id 1", "VF a"], now=1.0)
    hold(store, ["id 1", "VF b"], now=2.0)
    assert held(store) == {"id 1": 1.0, "VF b": 2.0}
    hold(store, [])
    assert held(store) == {}
    store.close()


def test_readings_are_kept_whole_and_forgotten_with_their_source(tmp_path: Path) -> None:
    store = Store(tmp_path)
    tree = Tree((Text("a", b"1"), Text("b", "ü".encode())), Text("c", b"3"))
    keep(store, {"x": ("r1", tree), "y": ("", Tree((), None))}, now=1.0)
    keep(store, {"x": ("r1", tree)}, now=2.0)
    assert {name: (k.revision, k.tree, k.since) for name, k in kept(store).items()} == {"x": ("r1", tree, 1.0)}
    keep(store, {"x": ("r2", tree)}, now=3.0)
    assert [(k.revision, k.since) for k in kept(store).values()] == [("r2", 3.0)]
    store.close()
