"""Applies that are undone: by failing, by not being confirmed, by the death of whoever is at it. Whatever happens, what
is live in the end is the old state or the new one.
"""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.cli import main
from reconciler.watch.schedule import Timing
from schema.model import Action, Kind, Verb
from state.applied import Phase
from state.store import FILE
from tests.kit.command_line import ONE, TWO, Shell, document, looked, relays
from tests.kit.fakes.fake_engine import Served
from tests.kit.fakes.watch_harness import WatchHarness
from tests.kit.waiting import wait_for


@pytest.fixture
def applied(shell: Shell) -> Shell:
    """With one relay, and a file that wants two."""
    shell("apply", shell.write(ONE))
    shell.write(TWO)
    return shell


def waiting(shell: Shell, confirm: str = "60s") -> subprocess.Popen[str]:
    """An apply that waits to be confirmed."""
    process = shell.popen("apply", "--confirm", confirm, shell.file)
    wait_for("an apply that waits", lambda: (left := looked(shell)[0]) and left.phase is Phase.WAITING, 30.0)
    assert relays(shell) == {1, 2}
    return process


def test_what_did_not_work_is_undone_as_a_whole(applied: Shell) -> None:
    applied.engine.broken[Verb.ADD, "relay:2"] = "failed"
    before = applied.engine.state
    done = applied("apply", "--on-error=rollback", applied.file)
    assert (done.returncode, "Rolled back and verified" in done.stdout) == (1, True), done
    assert applied.engine.state == before
    rolled_back, failed = applied.json("history", "--limit", "2")["applies"]
    assert (failed["outcome"]["verdict"], rolled_back["outcome"]["verdict"]) == ("failed", "applied")
    assert rolled_back["source"] == f"rollback of {applied.file}"
    assert looked(applied) == (None, True)
    del applied.engine.broken[Verb.ADD, "relay:2"]
    assert applied("apply", applied.file).returncode == 0
    assert looked(applied) == (None, False)


def test_confirmed_in_time_it_stays(applied: Shell) -> None:
    process = waiting(applied)
    status = applied("status").stdout
    assert "vio4wd confirm" in status
    assert applied("apply", applied.file).returncode == 1
    assert applied("confirm").returncode == 0
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, "Confirmed" in out) == (0, True)
    assert (relays(applied), looked(applied)) == ({1, 2}, (None, False))
    done = applied("confirm")
    assert (done.returncode, "Nothing waits" in done.stderr) == (1, True)


@contextlib.contextmanager
def disk_full(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As far as the database can tell, for commands in this process: somebody holds it, and it can only be read."""
    for name, value in shell.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("state.store.BUSY_TIMEOUT_S", 0.1)
    with contextlib.closing(sqlite3.connect(shell.directory / "state" / FILE)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


def test_a_rollback_that_can_not_be_written_down_is_not_said_to_hold(
    applied: Shell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    applied("apply", applied.file)
    with disk_full(applied, monkeypatch):
        assert main(["rollback", "--yes"]) == 0
    said = capsys.readouterr()
    assert relays(applied) == {1}
    assert "database is locked" in said.err
    assert "This holds" not in said.out


def test_what_can_not_be_written_down_is_not_confirmed(
    applied: Shell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever waits looks on the disk."""
    process = waiting(applied)
    with disk_full(applied, monkeypatch):
        assert main(["confirm"]) == 1
    assert "database is locked" in capsys.readouterr().err
    assert looked(applied)[0] is not None
    assert applied("confirm").returncode == 0
    process.communicate(timeout=30)


def test_not_confirmed_it_is_as_before(applied: Shell) -> None:
    before = applied.engine.state
    done = applied("apply", "--confirm", "0.3s", applied.file)
    assert (done.returncode, "it was not confirmed within 0.3 s" in done.stdout) == (1, True), done
    assert (applied.engine.state, looked(applied)) == (before, (None, True))
    outcome = applied.json("apply", "--confirm", "0.3s", applied.file)
    assert (outcome["confirmed"], outcome["rollback"]["verdict"]) == (False, "applied")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_it_is_as_before_also_when_nobody_reads_any_more(applied: Shell, how: signal.Signals) -> None:
    before = applied.engine.state
    process = waiting(applied)
    for pipe in (process.stdout, process.stderr):
        assert pipe is not None
        pipe.close()
    process.send_signal(how)
    assert process.wait(30) == 1
    assert (applied.engine.state, looked(applied)) == (before, (None, True))


def test_interrupted_in_the_middle_of_an_action_it_is_as_before(applied: Shell) -> None:
    before = applied.engine.state
    process: list[subprocess.Popen[str]] = []

    def interrupt(action: Action) -> None:
        if process and action.kind is Kind.RELAY and action.verb is Verb.ADD:
            process.pop().send_signal(signal.SIGINT)

    applied.engine.before_execute = interrupt
    process.append(started := applied.popen("apply", "--confirm", "60s", applied.file))
    _, said = started.communicate(timeout=30)
    assert "Traceback" not in said
    applied.engine.before_execute = None
    assert started.returncode == 1
    assert (applied.engine.state, looked(applied)) == (before, (None, True))


def test_an_engine_that_is_started_again_meanwhile_gets_what_was_before(applied: Shell) -> None:
    process = waiting(applied)
    applied.engine.restart()
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, "the engine was started again" in out) == (1, True), out
    assert relays(applied) == {1}


def test_when_whoever_waits_is_killed_it_can_still_be_confirmed(applied: Shell) -> None:
    process = waiting(applied)
    process.kill()
    process.wait()
    done = applied("apply", applied.file)
    assert (done.returncode, "vio4wd confirm" in done.stderr) == (1, True)
    assert applied("confirm").returncode == 0
    assert (relays(applied), looked(applied)) == ({1, 2}, (None, False))


def test_when_whoever_waits_is_killed_the_next_command_rolls_back_in_time(applied: Shell) -> None:
    before = applied.engine.state
    process = waiting(applied, "2s")
    process.kill()
    process.wait()
    wait_for("the end of its time", lambda: (left := looked(applied)[0]) and time.time() > left.deadline)
    done = applied("confirm")
    assert (done.returncode, "Too late: it was not confirmed within 2 s" in done.stderr) == (1, True), done
    assert (applied.engine.state, looked(applied)) == (before, (None, True))


def killed_at(shell: Shell, at: Callable[[Action], bool]) -> None:
    """An apply that dies by SIGKILL when it asks the engine for this."""
    process: list[subprocess.Popen[str]] = []

    def kill(action: Action) -> None:
        if process and at(action):
            process[0].kill()
            process[0].wait()

    shell.engine.before_execute = kill
    process.append(shell.popen("apply", "--confirm", "60s", shell.file))
    process[0].communicate(timeout=30)
    assert process[0].returncode == -signal.SIGKILL
    shell.engine.before_execute = None


@pytest.mark.parametrize("kind", [Kind.PORT, Kind.SOCKET, Kind.RELAY])
def test_killed_in_the_middle_of_applying_it_is_undone_by_the_next_command(applied: Shell, kind: Kind) -> None:
    before = applied.engine.state
    killed_at(applied, lambda action: action.kind is kind)
    left, _ = looked(applied)
    assert left is not None
    assert left.phase is Phase.APPLYING
    done = applied("confirm")
    assert (done.returncode, "interrupted" in done.stderr) == (1, True), done
    assert (applied.engine.state, looked(applied)) == (before, (None, True))


def test_what_can_not_be_written_down_is_not_begun(
    applied: Shell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = applied.engine.state
    with disk_full(applied, monkeypatch):
        assert main(["apply", "--confirm", "60s", str(applied.file)]) == 1
    assert "so nothing was done" in capsys.readouterr().err
    assert applied.engine.state == before


def text(*ids: int) -> str:
    """On a CPU that every machine has."""
    return document(*(f"id: {id_}, vf: net_null{id_}" for id_ in ids))


@pytest.fixture
def harness(alone: Shell) -> Iterator[WatchHarness]:
    """A watch over a relay, beside a shell in the same directories."""
    alone.file.write_text(text(1))
    made = WatchHarness(alone.directory, alone.file)
    made.engine = alone.engine
    with Served(alone.engine, alone.run_dir):
        made.start(Timing(poll_s=3600.0, look_s=0.2))
        try:
            made.until_relays(1)
            yield made
        finally:
            made.stop()


def draft(shell: Shell, *ids: int) -> Path:
    path = shell.directory / "draft.yaml"
    path.write_text(text(*ids))
    return path


def begun(shell: Shell, confirm: str, file: Path) -> subprocess.Popen[str]:
    process = shell.popen("apply", "--confirm", confirm, file)
    wait_for("an apply that waits", lambda: (left := looked(shell)[0]) and left.phase is Phase.WAITING, 30.0)
    return process


def test_the_watch_rolls_back_for_a_dead_applier_and_does_not_try_the_content_again(
    harness: WatchHarness, alone: Shell
) -> None:
    process = begun(alone, "3s", draft(alone, 1, 2))
    harness.file.write_text(text(1, 2))
    process.kill()
    process.wait()
    harness.until_relays(1)
    harness.until("a reason", lambda: "not confirmed" in str(harness.report.get("instead")))
    assert looked(alone) == (None, True)
    assert "not tried again" in alone("status").stdout
    harness.file.write_text(text(1, 2, 3))
    harness.until_relays(1, 2, 3)
    harness.until("an end of the hold", lambda: looked(alone) == (None, False))


def test_what_was_rolled_back_is_not_tried_again_because_something_else_is_rolled_back(
    harness: WatchHarness, alone: Shell
) -> None:
    process = begun(alone, "3s", draft(alone, 1, 2))
    harness.file.write_text(text(1, 2))
    process.communicate(timeout=30)
    harness.until("a reason", lambda: "not confirmed" in str(harness.report.get("instead")))
    assert alone("apply", "--confirm", "0.2s", draft(alone, 1, 3)).returncode == 1
    assert alone("apply", "--force", draft(alone, 1, 3)).returncode == 0
    harness.until_relays(1)
    assert "not confirmed" in str(harness.report.get("instead"))
    added = [action.resource for action in harness.engine.executed if action.verb is Verb.ADD]
    assert added.count("relay:2") == 1


def test_confirmed_the_watch_keeps_what_the_file_says_by_then(harness: WatchHarness, alone: Shell) -> None:
    process = begun(alone, "60s", draft(alone, 1, 2))
    harness.file.write_text(text(1, 2))
    assert alone("confirm").returncode == 0
    process.communicate(timeout=30)
    assert process.returncode == 0
    harness.until("the draft in force", lambda: "2" in (harness.report.get("in_force") or {}).get("relays", {}))
    assert set(harness.engine.state.relays) == {1, 2}
    assert harness.removed == []


def test_rollback_is_a_plan_that_is_asked_for_and_holds_against_the_watch(harness: WatchHarness, alone: Shell) -> None:
    harness.file.write_text(text(1, 2))
    harness.until_relays(1, 2)
    harness.until("a record", lambda: len(alone.json("history")["applies"]) == 2)
    done = alone("rollback")
    assert (done.returncode, "- relay:2" in done.stdout, "--yes" in done.stderr) == (1, True, True), done
    assert set(harness.engine.state.relays) == {1, 2}
    done = alone("rollback", "--yes")
    assert (done.returncode, "This holds until the content" in done.stdout) == (0, True), done
    harness.file.write_text(text(1, 2) + "\n")
    harness.until_relays(1, 2)


def test_rollback_goes_to_nothing_that_was_rolled_back(applied: Shell) -> None:
    applied("apply", "--confirm", "0.1s", applied.file)
    assert relays(applied) == {1}
    done = applied("rollback", "--yes")
    assert (done.returncode, "no such state" in done.stderr, relays(applied)) == (1, True, {1}), done


def test_rollback_to_a_number_and_the_history_of_it(applied: Shell) -> None:
    applied("apply", applied.file)
    first, second = sorted(each["id"] for each in applied.json("history")["applies"])
    assert applied("rollback", str(first), "--yes").returncode == 0
    assert relays(applied) == {1}
    assert "Nothing to do" in applied("rollback", str(first), "--yes").stdout
    assert applied("rollback", "--yes").returncode == 0
    assert relays(applied) == {1, 2}
    again = applied.json("rollback", "--yes", str(second))
    assert (again["verdict"], again["steps"]) == ("applied", [])
    done = applied("rollback", "999")
    assert (done.returncode, "no such state" in done.stderr) == (1, True)
    shown = applied("history", "show", str(second))
    assert shown.returncode == 0
    assert "+ relay:2" in shown.stdout
    assert "net_null2" in shown.stdout.partition("The spec:")[2]
    report = applied.json("history", "show", str(second))
    assert (report["id"], report["spec"]) == (second, TWO)
    assert applied("history", "show", "999").returncode == 1
