"""What a service manager hears, on a socket such as systemd's."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.status.report import READY_WITHIN_S, ServiceStatus
from reconciler.watch.notify_proxy import NotifyProxy
from reconciler.watch.schedule import Timing
from schema.wire.notify import INHERITED, MAX_MESSAGES, Notifier, NotifySocket
from tests.kit.fakes.watch_harness import PATIENCE_S, WatchHarness
from tests.kit.waiting import wait_for


@pytest.fixture
def manager() -> Iterator[NotifySocket]:
    hearing = NotifySocket()
    yield hearing
    hearing.close()


def notifier(manager: NotifySocket, watchdog_s: float = 0.0, **more: str) -> Notifier:
    return Notifier({**manager.environment, "WATCHDOG_USEC": str(int(watchdog_s * 1e6)), **more})


def test_a_status_is_one_line_of_utf_8(manager: NotifySocket) -> None:
    """Whatever stands in the reason of a pause, which a terminal of another encoding may have written."""
    notifier(manager).status("paused by root: f\udcfcr\nMAINPID=1")
    assert manager.drain() == ["STATUS=paused by root: f\\udcfcr MAINPID=1"]


def test_without_a_manager_nothing_happens(tmp_path: Path) -> None:
    plain = os.open("/dev/null", os.O_WRONLY)
    for environment in (
        {},
        {"NOTIFY_SOCKET": str(tmp_path / "none"), "WATCHDOG_USEC": "10"},
        {INHERITED: str(plain)},
        {INHERITED: "4096000"},
        {INHERITED: "9" * 40},
        {INHERITED: "-1"},
    ):
        nobody = Notifier(environment)
        nobody.ready()
        nobody.alive(0.0)
        nobody.close()
    os.close(plain)
    assert Notifier({"WATCHDOG_USEC": "10"}).watchdog_s == 0


def test_a_socket_with_a_name_in_the_file_system(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        Notifier({"NOTIFY_SOCKET": str(path)}).ready()
        manager.settimeout(PATIENCE_S)
        assert manager.recv(99) == b"READY=1"


def test_nobody_else_can_reach_what_a_parent_hears(manager: NotifySocket) -> None:
    """It has no name: not in the file system, nor among the abstract ones, which any user may flood."""
    notifier(manager).ready()
    inodes = {os.fstat(manager.descriptor).st_ino}
    rows = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    assert [row[7:] for row in rows if row[6].isdecimal() and int(row[6]) in inodes] == [[]]
    assert manager.drain() == ["READY=1"]


def test_a_child_inherits_it_and_its_own_children_do_not(manager: NotifySocket) -> None:
    code = (
        "import os, subprocess, sys; from schema.wire.notify import INHERITED, Notifier; n = Notifier(); n.ready(); "
        "subprocess.run(['readlink', '/proc/self/fd/' + os.environ[INHERITED]], close_fds=False)"
    )
    environment = {**os.environ, **manager.environment}
    command = [sys.executable, "-c", code]
    child = subprocess.run(command, env=environment, pass_fds=[manager.descriptor], stdout=subprocess.PIPE, check=True)
    assert (manager.drain(), child.stdout) == (["READY=1"], b"")


def test_what_can_not_be_read_now_is_read_later(manager: NotifySocket, monkeypatch: pytest.MonkeyPatch) -> None:
    notifier(manager).ready()

    class Failing:
        def recv(self, _: int) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(manager, "_socket", Failing())
        assert manager.drain() == []
    assert manager.drain() == ["READY=1"]


def test_one_who_does_not_stop_talking_is_heard_in_turns(manager: NotifySocket) -> None:
    ours = notifier(manager)
    for _ in range(MAX_MESSAGES + 1):
        ours.ready()
    assert [len(manager.drain()) for _ in range(3)] == [MAX_MESSAGES, 1, 0]


def test_a_parent_that_is_gone_or_does_not_listen_is_no_reason_to_stop(manager: NotifySocket) -> None:
    ours = notifier(manager)
    for _ in range(3):
        ours.status("x" * 100_000)
        ours.status("y" * 100_000)  # the second of these finds no room
    manager.close()
    ours.ready()


def test_pings_are_often_enough_and_not_more(manager: NotifySocket) -> None:
    ours = notifier(manager, 10.0)
    for tenth in range(100):
        ours.alive(tenth / 10)
    assert manager.drain() == ["WATCHDOG=1"] * 3
    assert notifier(manager, 10.0, WATCHDOG_PID="1").watchdog_s == 0, "meant for another process"


def test_status_is_said_when_it_changes_and_reloading_has_its_time(manager: NotifySocket) -> None:
    ours = notifier(manager)
    for text in ("a", "a", "b"):
        ours.status(text)
    ours.reloading()
    first, second, third = manager.drain()
    assert (first, second) == ("STATUS=a", "STATUS=b")
    assert third.startswith("RELOADING=1\nMONOTONIC_USEC=")


def test_ready_is_said_once_and_not_put_off_for_ever(manager: NotifySocket) -> None:
    pulse = ServiceStatus(notifier(manager), 100.0)
    pulse.beat(100.0 + READY_WITHIN_S)
    assert manager.drain() == []
    pulse.beat(101.0 + READY_WITHIN_S)
    pulse.reconciled()
    assert manager.drain() == ["READY=1"]


def test_a_reload_ends_with_ready_whether_anything_changed_or_not(manager: NotifySocket) -> None:
    pulse = ServiceStatus(notifier(manager), 100.0)
    pulse.reloading(100.0)
    pulse.reconciled()
    assert manager.drain() == ["READY=1"], "who starts does not reload"
    for end in (pulse.reconciled, lambda: pulse.read(nothing=False)):
        pulse.reloading(100.0)
        pulse.reloading(100.0)
        end()
        pulse.read(nothing=False)
        assert [message.partition("\n")[0] for message in manager.drain()] == ["RELOADING=1", "READY=1"]


def test_a_reload_after_a_long_time_has_its_own_time(manager: NotifySocket) -> None:
    pulse = ServiceStatus(notifier(manager), 100.0)
    pulse.reconciled()
    pulse.reloading(9000.0)
    pulse.beat(9000.0 + READY_WITHIN_S)
    assert [message.partition("\n")[0] for message in manager.drain()] == ["READY=1", "RELOADING=1"]
    pulse.beat(9001.0 + READY_WITHIN_S)
    assert manager.drain() == ["READY=1"]


def heard(manager: NotifySocket, said: list[str], word: str) -> bool:
    said += manager.drain()
    return any(message.startswith(word) for message in said)


def test_the_watch_is_ready_when_the_first_reconcile_has_ended(harness: WatchHarness, manager: NotifySocket) -> None:
    harness.stop()
    harness.engine.restart()
    harness.start(Timing(poll_s=3600.0, look_s=0.05), notifier(manager, 0.2))
    said: list[str] = []
    wait_for("READY", lambda: heard(manager, said, "READY"), PATIENCE_S)
    assert set(harness.engine.state.relays) == {1}
    wait_for("a status", lambda: heard(manager, said, "STATUS=1 Pending"), PATIENCE_S)
    wait_for("a ping", lambda: heard(manager, said, "WATCHDOG"), PATIENCE_S)
    harness.stop()
    said += manager.drain()
    assert said.count("READY=1") == 1
    assert said[-1] == "STOPPING=1"


def test_a_file_that_was_never_valid_is_no_reason_to_wait(harness: WatchHarness, manager: NotifySocket) -> None:
    harness.stop()
    harness.file = harness.directory / "other.yaml"
    harness.file.write_text("nothing")
    harness.start(notifier=notifier(manager))
    said: list[str] = []
    wait_for("READY", lambda: heard(manager, said, "READY"), PATIENCE_S)
    wait_for("a status", lambda: heard(manager, said, "STATUS="), PATIENCE_S)
    assert any("what stands in the file is refused" in message for message in said)


def test_between_manager_and_watch_words_are_passed_on_and_silence_is_noticed(manager: NotifySocket) -> None:
    between = NotifyProxy(notifier(manager, 10.0), silent_s=5.0)
    watch = Notifier(between.environment)
    assert watch.watchdog_s == 5.0
    watch.ready()
    watch.status("fine")
    watch.alive(0.0)
    assert not between.turn(100.0, 99.0)
    assert manager.drain() == ["READY=1", "STATUS=fine", "WATCHDOG=1"], "the last is our own, not the watch's"
    assert not between.turn(104.0, 99.0)
    assert between.turn(105.5, 99.0)
    assert not between.turn(105.5, 105.0), "another one has just been started"
    between.close()


HANGING = """
import logging, os, sys
from reconciler.watch.notify_proxy import NotifyProxy
from reconciler.watch.supervisor import ChildProcess, keep_up
from reconciler.watch.restart_policy import Child
body = '''
import os, sys, time
open(sys.argv[1] + "/watches", "a").write(str(os.getpid()) + chr(10))
time.sleep(3600)
'''
between = NotifyProxy(silent_s=0.2)
watch = ChildProcess(Child("watch"), [sys.executable, "-c", body, sys.argv[1]], environment=between.environment)
sys.exit(keep_up([watch], dict, between))
"""


def test_a_watch_that_hangs_is_killed_and_started_again(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HANGING, str(tmp_path)], stderr=subprocess.DEVNULL) as run:
        try:
            started = tmp_path / "watches"
            wait_for("a second watch", lambda: started.exists() and len(started.read_text().split()) > 1, PATIENCE_S)
        finally:
            run.send_signal(signal.SIGTERM)
            run.wait(PATIENCE_S)
    assert not any(os.path.exists(f"/proc/{pid}") for pid in started.read_text().split())
