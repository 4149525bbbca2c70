"""Every table that is read back, with rows in every shape but ours: each is set aside and said, the others count."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from schema import Text, Tree
from schema.model import State
from state import applied, history, host_changes, last_good, relay_requests
from state.store import Store


@dataclass(frozen=True, slots=True)
class Table:
    """How a row is written and read, and which of its columns hold what."""

    write: Callable[[Store], object]
    read: Callable[[Store], Any]
    text: Mapping[str, bool]
    """Columns, and whether they hold JSON."""
    number: tuple[str, ...] = ()


PENDING = applied.Pending("t", "who", "a.yaml", "aa", 1.0, State())
HOLD = applied.RollbackHold(frozenset({"aa"}), State(), "why", 1.0)
TABLES: dict[str, Table] = {
    "binding": Table(
        lambda s: host_changes.remember_binding(s, host_changes.Binding("0000:01:00.1", "ixgbevf", "")),
        host_changes.bindings,
        {"driver": False, "override": False},
    ),
    "reserved": Table(
        lambda s: host_changes.remember_pages(s, "b", host_changes.Reserved("2M", (1,), (2,))),
        lambda s: host_changes.reserved_pages(s, "b"),
        {"found": True, "kept": True},
    ),
    "mounted": Table(
        lambda s: host_changes.remember_mount(s, "b", "/m", ""),
        lambda s: host_changes.made_mounts(s, "b"),
        {"made": False},
    ),
    "pending": Table(
        lambda s: applied.begin(s, PENDING), applied.current_pending, {"phase": False, "value": True}, ("deadline",)
    ),
    "intent": Table(lambda s: applied.keep_hold(s, HOLD), applied.current_hold, {"value": True}),
    "wish": Table(
        lambda s: relay_requests.put(s, "ovsdb", 1, {"vf": "a"}, 1.0),
        relay_requests.requests,
        {"wanted": True},
        ("relay", "since"),
    ),
    "released": Table(lambda s: relay_requests.remove(s, "ovsdb", 1), relay_requests.released, {}),
    "held": Table(lambda s: relay_requests.claim(s, ["vf a"], 1.0), relay_requests.claimed_since, {}, ("since",)),
    "reading": Table(
        lambda s: last_good.keep_readings(s, {"a": ("r", Tree((Text("n", b"c"),), None))}, 1.0),
        last_good.kept_readings,
        {"revision": False, "files": True},
        ("since",),
    ),
    "pin": Table(
        lambda s: relay_requests.keep_pins(s, {1: (1, 2)}), relay_requests.kept_pins, {}, ("vf_to_vm", "vm_to_vf")
    ),
    "netdev": Table(
        lambda s: host_changes.remember_netdev(s, "eth1", "a", 1),
        host_changes.remembered_netdevs,
        {"vf": False},
        ("vf_index",),
    ),
    "last_good": Table(
        lambda s: last_good.keep_spec(s, "/f", "aa", "text", 1.0), lambda s: last_good.last_good(s, "/f"), {}, ("time",)
    ),
    "history": Table(
        lambda s: history.record(s, who="w", source="a", sha256="x", text="", plan={}, outcome={}),
        lambda s: history.entries(s, 9),
        {"plan": True, "outcome": True, "who": False},
        ("time",),
    ),
    "reached": Table(
        lambda s: history.record(s, who="w", source="a", sha256="x", text="", plan={}, outcome={}, target=State()),
        lambda s: history.target_of(s, history.entries(s, 1)[0].id),
        {"state": True},
    ),
}
WRONG_JSON = ("", "{", "[]", "null", "7", '"x"', '{"other": 1}', "[" * 5000, '{"relay": [{"id": "x"}]}', '[["a"]]')
"""`[]` and the like are right in some places; then they are read."""


def cases() -> Iterator[tuple[str, str, object]]:
    for name, table in TABLES.items():
        for column, is_json in table.text.items():
            yield from ((name, column, value) for value in (b"\xff\x00", *(WRONG_JSON if is_json else ())))
        yield from ((name, column, value) for column in table.number for value in ("x", b"\xff"))


def test_every_table_is_tried() -> None:
    with closing(Store(Path("/proc/none"))) as store:
        query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        names = {name for (name,) in store.run(lambda connection: connection.execute(query).fetchall())}
    assert names - TABLES.keys() == {"spec", "unreadable"}, "text that is parsed like any other; and what was set aside"


def test_a_row_of_another_shape_is_set_aside_and_the_next_one_counts(tmp_path: Path) -> None:
    with closing(Store(tmp_path)) as store:
        for name, column, value in cases():
            table = TABLES[name]
            store.run(lambda c, name=name: c.execute(f"DELETE FROM {name}"))  # type: ignore[misc]
            table.write(store)
            good = table.read(store)
            assert good, name
            row = (value,)
            store.run(lambda c, name=name, column=column, row=row: c.execute(f"UPDATE {name} SET {column} = ?", row))  # type: ignore[misc]
            read = table.read(store)
            left = store.run(lambda c, name=name: c.execute(f"SELECT * FROM {name}").fetchall())  # type: ignore[misc]
            assert bool(read) == bool(left), (name, column, value)
            if not left:
                table.write(store)
                assert table.read(store), (name, column, value)
        kept = store.run(lambda c: c.execute("SELECT what, row FROM unreadable").fetchall())
        assert {what for what, _ in kept} >= {"binding", "pending", "wish", "reading", "pin", "history", "intent"}
        assert all(isinstance(json.loads(row), list) for _, row in kept)


@pytest.mark.parametrize("value", WRONG_JSON)
def test_what_was_last_wanted_is_not_known_in_another_shape(tmp_path: Path, value: str) -> None:
    with closing(Store(tmp_path)) as store:
        applied.keep_target(store, applied.LastTarget(State()))
        assert applied.last_target(store) is not None
        store.run(lambda c: c.execute("UPDATE intent SET value = ?", (value,)))
        assert applied.last_target(store) is None
