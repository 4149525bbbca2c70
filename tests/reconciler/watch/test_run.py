"""Children that die are started again; whoever is told to end, ends in order and leaves nobody behind."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from reconciler.cli import main
from reconciler.watch import supervisor
from reconciler.watch.notify_proxy import NotifyProxy
from reconciler.watch.only_run import HOLDER, RunsAlready, only_run
from reconciler.watch.restart_policy import AGAIN_AT_ONCE, LAST_S, Child
from reconciler.watch.supervisor import BASE, ChildProcess, _end_silent, further_engines
from schema.paths import engine_parameters

PATIENCE_S = 20.0


def test_a_child_that_keeps_dying_is_started_less_and_less_often() -> None:
    child = Child("engine")
    waits = []
    now = 0.0
    for _ in range(9):
        child.has_started(now)
        child.died(now + 1, 1)
        waits.append(round(child.start_at - now - 1, 1))
        now = child.start_at
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, LAST_S, LAST_S, LAST_S]


def test_a_child_that_lived_a_while_is_started_soon() -> None:
    child = Child("engine", deaths=20)
    child.has_started(0.0)
    child.died(11.0, -signal.SIGKILL)
    assert child.start_at == pytest.approx(11.1)


def test_a_child_that_asks_for_it_is_started_at_once() -> None:
    child = Child("engine", deaths=20)
    child.has_started(0.0)
    child.died(1.0, AGAIN_AT_ONCE)
    assert child.start_at == 1.0


def test_further_engines_go_on_while_the_state_directory_is_away(tmp_path: Path) -> None:
    state = tmp_path / "state"
    wanted = further_engines(state, tmp_path / "run")
    assert wanted() == {}
    state.mkdir()
    engine_parameters(state, 0).touch()
    engine_parameters(state, 2).touch()
    assert list(wanted()) == ["engine 2"]
    state.rename(tmp_path / "away")
    assert list(wanted()) == ["engine 2"]
    (tmp_path / "away").rename(state)
    engine_parameters(state, 2).unlink()
    assert wanted() == {}


def test_a_wait_for_signals_that_fails_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(supervisor, "LOOK_S", 0.0)
    monkeypatch.setattr("signal.sigtimedwait", fails)
    assert supervisor._next_signal(frozenset(), 1.0) is None
    assert "can't wait for signals (Input/output error)" in caplog.text


PARENT = """
import logging, os, sys
from reconciler.watch.supervisor import ChildProcess, keep_up
from reconciler.watch.restart_policy import Child
logging.basicConfig(stream=sys.stderr, level=logging.INFO)
body = '''
import os, signal, sys, time
name, directory = sys.argv[1:]
def end(*_):
    open(directory + "/ended", "a").write(name + chr(10))
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
open(directory + "/" + name + ".tmp", "w").write(str(os.getpid()))
os.rename(directory + "/" + name + ".tmp", directory + "/" + name)
while True:
    time.sleep(60)
'''
def command(name):
    return [sys.executable, "-c", body, name, sys.argv[1]]
def wanted():
    found = {"more": command("more")} if os.path.exists(sys.argv[1] + "/needed") else {}
    return {**found, "none": ["/none"]} if os.path.exists(sys.argv[1] + "/hopeless") else found
names = ("engine", "watch")
def read_anew():
    open(sys.argv[1] + "/anew", "w").close()
sys.exit(keep_up([ChildProcess(Child(n), command(n)) for n in names], wanted, None, read_anew))
"""


def until(what: str, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


class Family:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        line = [sys.executable, "-c", PARENT, str(directory)]
        self.parent = subprocess.Popen(line, stderr=subprocess.DEVNULL, start_new_session=True)

    def pid(self, name: str) -> int:
        until(f"{name} started", (self.directory / name).exists)
        return int((self.directory / name).read_text())


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Family]:
    made = Family(tmp_path)
    yield made
    made.parent.terminate()
    made.parent.wait(PATIENCE_S)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_told_to_end_it_ends_the_watch_first(family: Family, how: signal.Signals) -> None:
    pids = [family.pid("engine"), family.pid("watch")]
    family.parent.send_signal(how)
    assert family.parent.wait(PATIENCE_S) == 0
    assert (family.directory / "ended").read_text().split() == ["watch", "engine"]
    assert not any(alive(pid) for pid in pids)


def test_without_a_terminal_a_hangup_reads_anew_and_ends_nobody(family: Family) -> None:
    pids = [family.pid("engine"), family.pid("watch")]
    for number in (signal.SIGUSR1, signal.SIGALRM, signal.SIGRTMIN, signal.SIGHUP):
        family.parent.send_signal(number)
    until("a reading", (family.directory / "anew").exists)
    assert all(alive(pid) for pid in pids)
    assert not (family.directory / "ended").exists()


class Undead:
    """A process that can't be killed, as one that waits for a server in the kernel. No such process can be made at
    will: FUSE's are released by SIGKILL."""

    pid = 1
    killed = 0

    def poll(self) -> None:
        return None

    def kill(self) -> None:
        self.killed += 1


def test_a_watch_that_can_not_be_killed_is_said_once_and_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    class Silent(NotifyProxy):
        def turn(self, now: float, started: float) -> bool:
            del now, started
            return True

    between, undead = Silent(), Undead()
    watch = ChildProcess(Child("watch"), [], process=cast("subprocess.Popen[bytes]", undead))
    with caplog.at_level("INFO", "vio4wd.run"):
        for now in range(100):
            _end_silent(between, watch, float(now))
    between.close()
    assert undead.killed == 1
    hangs, stays = [record.message for record in caplog.records]
    assert hangs.startswith("watch hangs and is killed")
    assert stays.startswith("watch can't be killed: process 1 waits for a disk or a server")


def test_a_killed_child_is_started_again_and_the_other_left_alone(family: Family) -> None:
    engine, watch = family.pid("engine"), family.pid("watch")
    (family.directory / "watch").unlink()
    os.kill(watch, signal.SIGKILL)
    assert family.pid("watch") != watch
    assert alive(engine)
    assert not (family.directory / "ended").exists()


def test_children_do_not_outlive_a_parent_that_is_killed(family: Family) -> None:
    pids = [family.pid("engine"), family.pid("watch")]
    family.parent.kill()
    until("the end of both", lambda: not any(alive(pid) for pid in pids))
    assert sorted((family.directory / "ended").read_text().split()) == ["engine", "watch"]


def test_another_engine_comes_when_it_is_needed_and_ends_when_it_is_not(family: Family) -> None:
    engine, watch = family.pid("engine"), family.pid("watch")
    (family.directory / "needed").touch()
    more = family.pid("more")
    (family.directory / "more").unlink()
    os.kill(more, signal.SIGKILL)
    more = family.pid("more")
    (family.directory / "needed").unlink()
    until("its end", lambda: not alive(more))
    until("its last word", lambda: (family.directory / "ended").exists())
    assert (family.directory / "ended").read_text().split() == ["more"]
    assert alive(engine)
    assert alive(watch)


def test_one_that_can_not_be_started_is_no_reason_to_end_the_others(family: Family) -> None:
    pids = [family.pid("engine"), family.pid("watch")]
    (family.directory / "hopeless").touch()
    (family.directory / "needed").touch()
    pids.append(family.pid("more"))
    assert all(alive(pid) for pid in pids)
    assert not (family.directory / "ended").exists()


def test_one_killed_by_a_signal_without_a_name_is_started_again(family: Family) -> None:
    watch = family.pid("watch")
    (family.directory / "watch").unlink()
    os.kill(watch, signal.SIGRTMIN + 3)
    assert family.pid("watch") != watch
    assert not (family.directory / "ended").exists()


def test_further_engines_end_after_the_watch(family: Family) -> None:
    (family.directory / "needed").touch()
    for name in ("engine", "watch", "more"):
        family.pid(name)
    family.parent.terminate()
    assert family.parent.wait(PATIENCE_S) == 0
    first, *others = (family.directory / "ended").read_text().split()
    assert (first, sorted(others)) == ("watch", ["engine", "more"])


def test_engines_that_take_their_time_end_side_by_side(tmp_path: Path) -> None:
    """Each waits for the other to be told too: one after the other they would never end."""
    both = """
import os, signal, sys, time
name, other = sys.argv[2:]
def end(*_):
    open(sys.argv[1] + "/told-" + name, "w").close()
    while not os.path.exists(sys.argv[1] + "/told-" + other):
        time.sleep(0.01)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
open(sys.argv[1] + "/" + name, "w").close()
while True:
    time.sleep(60)
"""
    parent = """
import sys
from reconciler.watch.supervisor import ChildProcess, keep_up
from reconciler.watch.restart_policy import Child
commands = [[sys.executable, "-c", sys.argv[2], sys.argv[1], *pair] for pair in (("a", "b"), ("b", "a"))]
sys.exit(keep_up([ChildProcess(Child(f"engine {n}"), command) for n, command in enumerate(commands)]))
"""
    with subprocess.Popen([sys.executable, "-c", parent, str(tmp_path), both]) as process:
        until("both", lambda: (tmp_path / "a").exists() and (tmp_path / "b").exists())
        process.terminate()
        assert process.wait(PATIENCE_S) == 0


def test_stopped_and_continued_it_goes_on(family: Family) -> None:
    """Past the time-out of its wait; `kill -STOP`, a debugger or a suspended machine do that."""
    engine, watch = family.pid("engine"), family.pid("watch")
    for _ in range(2):
        family.parent.send_signal(signal.SIGSTOP)
        time.sleep(0.6)
        family.parent.send_signal(signal.SIGCONT)
        time.sleep(0.1)
    assert family.parent.poll() is None
    assert alive(engine)
    assert alive(watch)


@pytest.mark.parametrize("line", [BASE, (sys.executable, "-m", "reconciler")], ids=["child", "by hand"])
def test_no_module_is_taken_from_the_directory_that_it_is_started_in(line: tuple[str, ...], tmp_path: Path) -> None:
    """Which may be anybody's, such as /tmp."""
    for name in ("zmq", "yaml", "argparse", "engine", "state", "schema"):
        (tmp_path / f"{name}.py").write_text("open('ran', 'w')\nraise SystemExit(3)\n")
    directories = {f"VIO4WD_{name}_DIR": str(tmp_path / "own") for name in ("RUN", "STATE")}
    environment = {**os.environ, **directories}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run([*line, "status"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, "no watch is running" in done.stdout) == (1, True), done
    assert not (tmp_path / "ran").exists()


def test_a_second_run_says_which_one_runs_and_starts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VIO4WD_RUN_DIR", str(tmp_path))
    with only_run(tmp_path, "/etc/first.yaml"):
        assert main(["run", str(tmp_path / "second.yaml")]) == 1
        said = capsys.readouterr().err
        assert f"vio4wd run (pid {os.getpid()}) already runs here with /etc/first.yaml" in said
        (tmp_path / HOLDER).write_text("\0garbage")
        with pytest.raises(RunsAlready, match="another vio4wd run already runs in"), only_run(tmp_path, "x"):
            pass
    with only_run(tmp_path, "x"):
        pass


def test_a_run_directory_that_cant_be_made_keeps_nobody_from_running(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with only_run(tmp_path / "file" / "r", "x"):
        pass
