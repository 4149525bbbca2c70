"""A state directory of the commit before is read whole, and what is written into it can be read by that commit."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from engine.api import parameters
from reconciler.apply.saved_plan import FORMAT_VERSION, parse_plan
from reconciler.observe.engine_start import left_log_level, write_engine_parameters
from reconciler.observe.engines import remembered_homes
from reconciler.policy.pause import read_pause
from schema import Text, Tree
from schema.model import Engine, State, Worker
from state import applied, history, host_changes, last_good, relay_requests
from state.store import FILE, Store
from tests.upgrade.recorded import FIRST, SECOND, SPEC_FILE, observation, state_directory

BOOT = "5f3c7a52-6d0f-4f1e-9a38-2f6a4f2b9c11"
"""The host's, when it reserved host_changes."""
ENGINE_BOOT = "e235e10b-0c46-4093-98d4-1212e3b1fbdc"


@pytest.fixture
def before(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(state_directory(tmp_path / "before"))) as store:
        assert store.fault is None
        yield store
        assert rows(store, "unreadable") == [], "something of it could not be read"


def rows(store: Store, table: str) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = store.run(lambda c: c.execute(f"SELECT * FROM {table}").fetchall())
    return sorted(found)


def live(generation: int) -> State:
    return State.from_json(observation(generation)["state"])


def test_history_is_read_with_its_specs_and_its_targets(before: Store) -> None:
    undone, added = history.entries(before, 9)
    assert [(each.id, each.who, each.source, each.sha256) for each in (added, undone)] == [
        (3, "watch", SPEC_FILE, SECOND),
        (4, "root", "apply 1", FIRST),
    ]
    assert [change["resource"] for change in added.plan["changes"]] == [
        "port:net_null5",
        "socket:/tmp/virtio-forwarder5.sock",
        "relay:5",
    ]
    assert [each.outcome["verdict"] for each in (added, undone)] == ["applied", "applied"]
    assert set(history.spec_text(before, SECOND).splitlines()) > {
        "engine: {worker_cpus: [1], main_cpu: 0, log_level: debug}"
    }
    reached = history.target_of(before, 4)
    assert reached is not None
    assert set(reached.relays) == {1, 2}, "the file's"


def test_a_plan_of_it_is_a_plan(before: Store) -> None:
    plan = history.entries(before, 1)[0].plan
    assert plan["format_version"] == FORMAT_VERSION
    saved = parse_plan(json.dumps(plan), "before")
    assert [(v.shard, v.boot_id, v.generation) for v in saved.versions] == [(0, ENGINE_BOOT, 17)]
    assert json.loads(json.dumps(saved.to_json())) == plan


def test_what_is_in_force_held_back_or_to_be_confirmed_is_read(before: Store) -> None:
    good = last_good.last_good(before, SPEC_FILE)
    assert good is not None
    assert (good.sha256, good.text) == (SECOND, history.spec_text(before, SECOND))
    hold = applied.current_hold(before)
    assert hold is not None
    assert [*hold.contents, *hold.protected] == [SECOND, 1]
    assert set(hold.state.relays) == {1, 2}
    waiting = applied.current_pending(before)
    assert waiting is not None
    assert (waiting.phase, waiting.who, waiting.file, waiting.was) == ("waiting", "root", SPEC_FILE, SECOND)
    assert [*waiting.protected, *waiting.others, *waiting.on_hold] == [1, 5, SECOND]
    assert (waiting.boots, waiting.confirm_s) == ({0: ENGINE_BOOT}, 3600.0)
    assert waiting.before.relays == live(25).relays
    assert waiting.due(waiting.time + 1.0, {}) == "the host was started again before it was confirmed"
    assert applied.confirm(before, waiting, waiting.time + 1.0)


def test_what_was_last_wanted_is_read(before: Store) -> None:
    last = applied.last_target(before)
    assert last is not None
    assert set(last.state.relays) == {1, 2, 5}
    assert [*last.protected, *last.boots.items(), *last.open] == [1, (0, ENGINE_BOOT)]


def test_what_others_asked_for_is_read(before: Store) -> None:
    asked = [(each.owner, each.relay, each.wanted) for each in relay_requests.requests(before)]
    assert asked == [("port-control", 5, {"vf": "net_null5"}), ("ovsdb", 6, {"vf": "net_null6"})]
    assert relay_requests.released(before) == {7}
    assert len(relay_requests.claimed_since(before)) == 7
    assert relay_requests.claimed_since(before)["VF net_null1"] == pytest.approx(1795809224.3, abs=0.1)
    assert relay_requests.kept_pins(before) == {5: (1, 0)}
    assert host_changes.remembered_netdevs(before) == {"eth6": ("0000:05:08.6", 6)}


def test_what_sources_said_is_read(before: Store) -> None:
    base = (Text("10-all.yaml", b"apiVersion: vio4wd/v1\nrelays: []\n"), Text("20-gäste.yaml", "# Gäste\n".encode()))
    assert {name: (each.revision, each.tree) for name, each in last_good.kept_readings(before).items()} == {
        "relays": ("3f786850e387550fdab836ed7e6dc881de23001b", Tree(base, Text("hv-17.yaml", b"relays: []\n"))),
        "local": ("", Tree((), None)),
    }
    assert last_good.kept_names(before) == {SPEC_FILE: "hv-17", "relays": "hv-17.example.org"}


def test_what_is_to_be_undone_on_the_host_is_read(before: Store) -> None:
    bound = host_changes.bindings(before)
    assert [(each.address, each.driver, each.override) for each in bound.values()] == [
        ("0000:05:08.6", "ixgbevf", ""),
        ("0000:05:08.7", "", "vfio-pci"),
    ]
    assert host_changes.reserved_pages(before, BOOT) == {"2M": host_changes.Reserved("2M", (512, 0), (1024, 512))}
    assert host_changes.made_mounts(before, BOOT) == {"/dev/hugepages-1G": "/dev/hugepages-1G", "/mnt/huge": ""}
    assert host_changes.reserved_pages(before, "another boot") == {}


def test_an_engine_s_parameters_and_a_pause_are_read(tmp_path: Path) -> None:
    directory = state_directory(tmp_path / "before")
    file = directory / "engine-0.json"
    assert parameters.read(file) == parameters.Parameters(Engine(), (Worker(0), Worker(1)), True)
    assert remembered_homes(directory) == {1: 0, 2: 0, 5: 0}
    assert left_log_level(directory) == "info"
    pause = read_pause(directory)
    assert pause is not None
    assert (pause.who, pause.reason, pause.since) == ("root", "a cable is moved", 1795809950.5)
    written = file.read_text()
    file.unlink()
    relays = {**live(25).relays}
    write_engine_parameters(directory, State(workers=frozenset({Worker(0), Worker(1)}), relays=relays))
    assert file.read_text() == written.replace('"hugepages": true', '"hugepages": false')


def _history(old: Store, new: Store) -> None:
    for each in reversed(history.entries(old, 9)):
        history.record(
            new,
            who=each.who,
            source=each.source,
            sha256=each.sha256,
            text=history.spec_text(old, each.sha256),
            plan=each.plan,
            outcome=each.outcome,
            target=history.target_of(old, each.id),
            now=each.time,
        )


def _claims(old: Store, new: Store) -> None:
    since = relay_requests.claimed_since(old)
    for now in sorted(set(since.values())):
        relay_requests.claim(new, [thing for thing, at in since.items() if at <= now], now)


def _last_good(old: Store, new: Store) -> None:
    good = last_good.last_good(old, SPEC_FILE)
    assert good is not None
    last_good.keep_spec(new, good.file, good.sha256, good.text, good.since)


def _pages(old: Store, new: Store) -> None:
    for reserved in host_changes.reserved_pages(old, BOOT).values():
        host_changes.remember_pages(new, BOOT, reserved)
    for path, made in host_changes.made_mounts(old, BOOT).items():
        host_changes.remember_mount(new, BOOT, path, made)


def _intents(old: Store, new: Store) -> None:
    hold, last = applied.current_hold(old), applied.last_target(old)
    assert hold is not None
    assert last is not None
    applied.keep_hold(new, hold)
    applied.keep_target(new, last)
    last_good.keep_names(new, last_good.kept_names(old))


def _pending(old: Store, new: Store) -> None:
    waiting = applied.current_pending(old)
    assert waiting is not None
    applied.begin(new, waiting)


def _requests(old: Store, new: Store) -> None:
    for each in relay_requests.requests(old):
        relay_requests.put(new, each.owner, each.relay, each.wanted, each.since)
    for relay in relay_requests.released(old):
        relay_requests.remove(new, "ipc", relay)
    relay_requests.keep_pins(new, relay_requests.kept_pins(old))
    for netdev, (vf, index) in host_changes.remembered_netdevs(old).items():
        host_changes.remember_netdev(new, netdev, vf, index)


def _cache(old: Store, new: Store) -> None:
    kept = last_good.kept_readings(old)
    assert len({each.since for each in kept.values()}) == 1
    said = {name: (each.revision, each.tree) for name, each in kept.items()}
    last_good.keep_readings(new, said, next(iter(kept.values())).since)


def _bindings(old: Store, new: Store) -> None:
    for binding in host_changes.bindings(old).values():
        host_changes.remember_binding(new, binding)


COPIES: dict[Callable[[Store, Store], None], tuple[str, ...]] = {
    _history: ("history", "reached", "spec"),
    _claims: ("held",),
    _last_good: ("last_good",),
    _pages: ("reserved", "mounted"),
    _intents: ("intent",),
    _pending: ("pending",),
    _requests: ("wish", "released", "pin", "netdev"),
    _cache: ("reading",),
    _bindings: ("binding",),
}


@pytest.mark.parametrize("copy", COPIES, ids=lambda copy: copy.__name__.strip("_"))
def test_what_is_written_today_is_what_was_written_then(
    before: Store, tmp_path: Path, copy: Callable[[Store, Store], None]
) -> None:
    """So that the commit before reads it."""
    with closing(Store(tmp_path / "today")) as today:
        copy(before, today)
        for table in COPIES[copy]:
            numbered = table in ("history", "reached")  # by their database
            then, now = ([row[numbered:] for row in rows(store, table)] for store in (before, today))
            assert then == now, table


def test_the_tables_are_the_same_and_all_are_tried(tmp_path: Path) -> None:
    query = "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    with closing(sqlite3.connect(state_directory(tmp_path / "before") / FILE)) as then:
        tables, version = dict(then.execute(query)), then.execute("PRAGMA user_version").fetchone()
    with closing(Store(tmp_path / "today")) as today:
        assert today.run(lambda c: dict(c.execute(query).fetchall())) == tables
        assert today.run(lambda c: c.execute("PRAGMA user_version").fetchone()) == version
    assert {table for copied in COPIES.values() for table in copied} == tables.keys() - {"unreadable"}
