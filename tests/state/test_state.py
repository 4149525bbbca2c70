"""What is remembered survives a kill, and what is broken is said and gone around."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from state.history import PastAction, PastOutcome, PastPlan, entries, record
from state.last_good import keep_spec, last_good
from state.store import AGAIN_S, FILE, Store
from tests.kit.system.other_user import umask
from tests.kit.system.small_disk import small_disk

PLAN: dict[str, object] = {"changes": [], "summary": {}}
OUTCOME = {"verdict": "applied"}


def remember(store: Store, who: str = "watch", sha256: str = "aa", text: str = "text", now: float = 1.0) -> int:
    return record(store, who=who, source="/a.yaml", sha256=sha256, text=text, plan=PLAN, outcome=OUTCOME, now=now)


def test_history_is_newest_first(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert entries(store, 5) == []
    ids = [remember(store, who) for who in ("a", "b", "c")]
    assert [e.id for e in entries(store, 2)] == [ids[2], ids[1]]
    entry = entries(store, 1)[0]
    assert (entry.who, entry.time, entry.plan, entry.outcome) == ("c", 1.0, PLAN, OUTCOME)
    store.close()
    assert [e.who for e in entries(Store(tmp_path), 9)] == ["c", "b", "a"]


def test_what_is_shown_of_an_apply_is_known_also_where_another_release_wrote_it(tmp_path: Path) -> None:
    step = {"action": "add", "kind": "relay", "resource": "relay:1", "ending": "failed", "message": "why", "took_us": 3}
    outcome = {"verdict": "failed", "message": "1 of 1", "steps": [step], "weather": "fine"}
    store = Store(tmp_path)
    odd = {"verdict": "applied", "steps": [{"of": "another release"}]}
    for plan, ended in (({"changes": [step]}, outcome), ({}, {}), ({"changes": 7}, {"verdict": 7}), ({}, odd)):
        record(store, who="w", source="a", sha256="s", text="", plan=plan, outcome=ended)
    later, strange, empty, whole = entries(store, 4)
    assert later.ended == PastOutcome("applied")
    action = PastAction("add", "relay:1", "relay", "failed", "why")
    assert (whole.planned, whole.ended) == (PastPlan((action,)), PastOutcome("failed", "1 of 1", (action,)))
    assert [(each.planned, each.ended) for each in (strange, empty)] == [(PastPlan(), PastOutcome())] * 2
    assert whole.to_json()["outcome"] == outcome


def test_history_forgets_the_oldest_and_their_specs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("state.history.KEPT", 20)
    store = Store(tmp_path)
    keep_spec(store, "/b.yaml", "kept", "kept", now=1.0)
    for i in range(25):
        remember(store, sha256=str(i))
    assert len(entries(store, 100)) == 20
    specs = store.run(lambda c: c.execute("SELECT count(*) FROM spec").fetchone()[0])
    assert specs == 20 + 1
    assert last_good(store, "/b.yaml") is not None


def test_last_good_is_by_file_and_keeps_its_time(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert last_good(store, "/a.yaml") is None
    keep_spec(store, "/a.yaml", "aa", "one", now=1.0)
    keep_spec(store, "/a.yaml", "aa", "one", now=2.0)
    keep_spec(store, "/b.yaml", "bb", "two", now=3.0)
    kept = last_good(store, "/a.yaml")
    assert kept is not None
    assert (kept.text, kept.since) == ("one", 1.0)
    keep_spec(store, "/a.yaml", "cc", "three", now=4.0)
    kept = last_good(store, "/a.yaml")
    assert kept is not None
    assert (kept.text, kept.since) == ("three", 4.0)


KILLED = """
import sys
from pathlib import Path
from state.history import record
from state.store import Store
store = Store(Path(sys.argv[1]))
while True:
    id_ = record(store, who="k", source="f", sha256="s", text="t", plan={}, outcome={"verdict": "applied"})
    print(id_, flush=True)
"""


def test_what_was_recorded_is_there_after_kill_9(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        said = [int(child.stdout.readline()) for _ in range(20)]
        child.send_signal(signal.SIGKILL)
        said += [int(line) for line in child.stdout if line.endswith("\n")]
    store = Store(tmp_path)
    assert store.fault is None
    assert {e.id for e in entries(store, 10**6)} >= set(said)
    assert store.run(lambda c: c.execute("PRAGMA integrity_check").fetchone()[0]) == "ok"
    assert remember(store) > said[-1]


def aside(directory: Path) -> list[str]:
    return sorted(each.name for each in directory.glob("*.unreadable-*"))


def pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def full_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "precious").touch()


def other_tables(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("DROP TABLE history")
        other.execute("CREATE TABLE history (id INTEGER PRIMARY KEY, other TEXT)")


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("PRAGMA user_version = 99")


def overwritten(path: Path) -> None:
    """Its head is whole, what follows is not."""
    path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 60_000)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "beside another's log": lambda path: path.with_name(f"{FILE}-wal").write_bytes(b"x" * 5000),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:5000]),
    "garbage": lambda path: path.write_bytes(b"not a database at all" * 100),
    "a head alone": lambda path: path.write_bytes(b"SQLite format 3\x00" + b"\xff" * 5000),
    "overwritten": overwritten,
    "of a newer release": newer,
    "with other tables": other_tables,
    "a pipe": pipe,
    "a directory": full_directory,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_database_of_another_shape_is_set_aside_and_a_new_one_made(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path)
    remember(store, "before")
    store.close()
    DAMAGES[damage](tmp_path / FILE)
    with closing(Store(tmp_path)) as store:
        remember(store, "after")
        assert who(store)[0] == "after"
        assert store.fault is None
        if damage in ("of a newer release", "beside another's log"):
            assert who(store) == ["after", "before"], "it could be read"
    if damage != "beside another's log":
        assert f"{FILE}.unreadable-1" in aside(tmp_path), "it is left for a person to look at"
        assert f"{tmp_path / FILE} (" in caplog.text
    with closing(Store(tmp_path)) as store:
        assert who(store)[0] == "after"


def test_one_that_breaks_while_it_is_open_goes_on(tmp_path: Path) -> None:
    store = Store(tmp_path)
    remember(store, "before")
    with closing(sqlite3.connect(tmp_path / FILE)) as other, other:
        other.execute("DROP TABLE history")
    assert remember(store, "after") == 1
    assert (store.fault, aside(tmp_path)) == (None, [])
    other_tables(tmp_path / FILE)
    assert remember(store, "later") == 1
    assert (store.fault, aside(tmp_path)) == (None, [f"{FILE}.unreadable-1"])
    store.close()


def test_several_who_find_it_so_set_it_aside_once(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database" * 1000)
    stores = [Store(tmp_path) for _ in range(3)]
    for store in stores:
        remember(store, "x")
    assert [len(who(store)) for store in stores] == [3] * 3
    assert aside(tmp_path) == [f"{FILE}.unreadable-1"]
    for store in stores:
        store.close()


@pytest.mark.needs("root")
def test_one_that_can_not_be_set_aside_is_said_and_memory_is_used(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        (disk.path / FILE).write_bytes(b"no database" * 1000)
        disk.read_only()
        clock = Clock()
        store = Store(disk.path, clock)
        remember(store, "a")
        assert (who(store), store.fault is not None) == (["a"], True)
        disk.read_only(on=False)
        clock.now += AGAIN_S
        remember(store, "b")
        assert (who(store), store.fault, aside(disk.path)) == (["b", "a"], None, [f"{FILE}.unreadable-1"])
        store.close()


def test_a_directory_that_can_not_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "file" / "state")
    assert store.fault is not None
    assert remember(store) == 1


@pytest.mark.parametrize("back", [False, True], ids=["taken away", "another is there"])
def test_a_file_that_is_taken_away_is_written_anew_and_everybody_has_the_same(tmp_path: Path, back: bool) -> None:
    first, second = Store(tmp_path), Store(tmp_path)
    remember(first, "a")
    assert who(second) == ["a"]
    for path in list(tmp_path.iterdir()):
        path.unlink()
    third = Store(tmp_path) if back else first
    remember(first, "b")
    remember(second, "c")
    assert [who(store) for store in (first, second, third)] == [["c", "b"] if back else ["c", "b", "a"]] * 3
    assert (first.fault, second.fault) == (None, None)
    for store in (first, second, third):
        store.close()


def test_where_it_can_not_be_written_anew_memory_is_used(tmp_path: Path) -> None:
    clock = Clock()
    store = Store(tmp_path / "state", clock)
    remember(store, "a")
    (tmp_path / "state").rename(tmp_path / "away")
    (tmp_path / "state").touch()
    remember(store, "b")
    assert store.fault is not None
    assert who(store) == ["b", "a"]
    (tmp_path / "state").unlink()
    clock.now += AGAIN_S
    assert who(store) == ["b", "a"]
    assert store.fault is None
    store.close()
    assert who(Store(tmp_path / "state")) == ["b", "a"]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def who(store: Store) -> list[str]:
    return [entry.who for entry in entries(store, 100)]


@pytest.mark.needs("root")
def test_a_full_disk_loses_nothing_and_is_written_to_again_when_it_has_room(tmp_path: Path) -> None:
    clock = Clock()
    with small_disk(tmp_path / "disk") as disk:
        store = Store(disk.path, clock)
        remember(store, "before")
        keep_spec(store, "/a.yaml", "aa", "good", now=1.0)
        disk.fill()
        said = [remember(store, "meanwhile", text="x" * 4000, sha256=str(i)) for i in range(20)]
        assert said == list(range(2, 22))
        assert store.fault is not None
        assert "full" in store.fault
        assert who(store) == ["meanwhile"] * 20 + ["before"], "what is on the disk is still to be read"
        other = Store(disk.path)
        assert "before" in who(other), "and for a process that starts now, too"
        assert last_good(other, "/a.yaml") is not None
        other.close()
        clock.now += AGAIN_S
        remember(store, "meanwhile")
        assert store.fault is not None
        disk.empty()
        clock.now += AGAIN_S
        store.heal()
        assert store.fault is None
        store.close()
        assert who(Store(disk.path)) == ["meanwhile"] * 21 + ["before"]


@pytest.mark.needs("root")
def test_a_read_only_disk_is_read_and_written_to_again_when_it_can_be(tmp_path: Path) -> None:
    clock = Clock()
    with small_disk(tmp_path / "disk") as disk:
        store = Store(disk.path)
        remember(store, "before")
        store.close()
        disk.read_only()
        store = Store(disk.path, clock)
        assert store.fault is not None
        assert remember(store, "meanwhile") == 2
        assert who(store) == ["meanwhile", "before"]
        disk.read_only(False)
        clock.now += AGAIN_S
        assert who(store) == ["meanwhile", "before"]
        assert store.fault is None
        store.close()
        assert who(Store(disk.path)) == ["meanwhile", "before"]


def test_a_directory_that_it_makes_is_nobody_elses(tmp_path: Path) -> None:
    Store(tmp_path / "state").close()
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


@pytest.mark.parametrize("made", [False, True])
def test_the_database_is_its_owners_alone(tmp_path: Path, made: bool) -> None:
    """It has specs in it, which may have the VF token. An older release left it readable."""
    folder = tmp_path / "deep" / "state"
    with umask(0o022):
        if made:
            folder.mkdir(parents=True)
            for name in ("vio4wd.db", "vio4wd.db-wal"):
                (folder / name).touch(0o644)
        with closing(Store(folder)) as store:
            record(store, who="tests", source="a", sha256="s", text="t", plan={}, outcome={})
            assert store.fault is None
            found = {each.name: oct(each.stat().st_mode & 0o777) for each in folder.iterdir()}
    assert found == dict.fromkeys(("vio4wd.db", "vio4wd.db-wal", "vio4wd.db-shm"), "0o600")
    assert made or folder.stat().st_mode & 0o777 == 0o700


def test_a_second_store_in_the_process_leaves_the_locks_of_the_first(tmp_path: Path) -> None:
    """POSIX locks are the process's: whoever opens and closes the file beside SQLite drops them."""
    ask = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0.1).execute('BEGIN IMMEDIATE')"
    with closing(Store(tmp_path)), closing(sqlite3.connect(tmp_path / FILE)) as first:
        first.execute("BEGIN IMMEDIATE")
        with closing(Store(tmp_path)):
            pass
        done = subprocess.run([sys.executable, "-c", ask, tmp_path / FILE], capture_output=True, text=True, timeout=60)
        assert "database is locked" in done.stderr
