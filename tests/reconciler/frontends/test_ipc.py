"""Port control by a file, with real files, a host of its own in a directory, and a loop that only counts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import schema
from reconciler.frontends import ipc
from reconciler.frontends.backend import Tickets
from reconciler.frontends.ipc import Ipc
from schema import Spec
from state.relay_requests import put, requests
from state.store import Store
from tests.kit.fakes.sysfs import Sysfs
from tests.kit.waiting import wait_for

SPEC = schema.parse("apiVersion: vio4wd/v1\nrelays:\n  - {id: 5, vf: net_null5}\n", "f")


class CommandFile:
    """A command file, its host, and what came of it."""

    def __init__(self, directory: Path, spec: Spec = SPEC) -> None:
        self.path = directory / "command" / "vio_cmd"
        self.path.parent.mkdir()
        self.host = Sysfs(directory / "sys")
        self.woken = 0
        self.exchange = Tickets(self._wake)
        self.state = directory / "state"
        self.store = Store(self.state)
        self.ipc = Ipc(str(self.path), self.state, lambda: spec, self.exchange)

    def _wake(self) -> None:
        self.woken += 1

    def vf(self, netdev: str, index: int, vf: str = "") -> None:
        """The host has a VF with an interface of its own."""
        self.host.vf("pf", index, vf or f"net_null{index}")
        self.host.netdev(netdev, device=vf or f"net_null{index}")

    def say(self, text: str) -> None:
        """As a shell does it: the file is made, written and closed."""
        self.path.write_text(text)

    def done(self, text: str) -> str:
        """Says this and waits until it is taken; what stands against it then."""
        self.say(text)
        wait_for("the file to be removed", lambda: not self.path.exists())
        return "".join(self.ipc.faults)

    def left(self, sentence: str) -> None:
        """Waits until what is there is refused so, and sees that it stays."""
        wait_for(sentence, lambda: sentence in "".join(self.ipc.faults))
        assert os.path.lexists(self.path)

    @property
    def wanted(self) -> Mapping[int, Any]:
        return {request.relay: request.wanted for request in requests(self.store) if request.owner == "ipc"}

    def close(self) -> None:
        self.ipc.stop()
        self.store.close()
        self.exchange.close()


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CommandFile]:
    monkeypatch.setenv("VIO4WD_SYS_DIR", str(tmp_path / "sys"))
    monkeypatch.setattr(ipc, "CALM_S", 0.0)
    made = CommandFile(tmp_path)
    yield made
    made.close()


def test_a_port_comes_and_goes(commands: CommandFile) -> None:
    commands.vf("eth3", 3)
    assert commands.done("add_port eth3\n") == ""
    assert commands.wanted == {3: {"vf": "net_null3"}}
    assert commands.woken > 0
    assert commands.done("add_port eth3") == "", "said twice is said once"
    commands.host.remove("eth3")
    assert commands.done("del_port eth3\n") == "", "what it stood for is remembered"
    assert commands.wanted == {}


def test_what_is_there_already_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIO4WD_SYS_DIR", str(tmp_path / "sys"))
    (tmp_path / "command").mkdir()
    (tmp_path / "command" / "vio_cmd").write_text("add_port eth3\n")
    (tmp_path / "command").rename(tmp_path / "later")
    made = CommandFile(tmp_path)
    made.vf("eth3", 3)
    made.path.parent.rmdir()
    (tmp_path / "later").rename(made.path.parent)
    wait_for("the request", lambda: set(made.wanted) == {3})
    wait_for("the file to be removed", lambda: not made.path.exists())
    made.close()


def test_a_file_that_is_moved_into_place(commands: CommandFile) -> None:
    commands.vf("eth3", 3)
    known_requests = commands.path.with_name("beside")
    known_requests.write_text("add_port eth3\n")
    known_requests.rename(commands.path)
    wait_for("the request", lambda: set(commands.wanted) == {3})


def test_half_a_command_is_not_carried_out(commands: CommandFile) -> None:
    commands.vf("eth1", 1)
    commands.vf("eth10", 10)
    with commands.path.open("w") as file:
        file.write("add_port eth1")
        file.flush()
        commands.path.with_name("other").touch()
        assert commands.wanted == {}
        file.write("0\n")
    wait_for("the request", lambda: set(commands.wanted) == {10})


def test_who_has_it_already_keeps_it(commands: CommandFile) -> None:
    put(commands.store, "port-control", 7, {"vf": "net_null3"})
    put(commands.store, "port-control", 8, {"vf": "net_null8", "socket": "/tmp/virtio-forwarder4.sock"})
    for index in (3, 4, 5):
        commands.vf(f"eth{index}", index)
    said = commands.done("add_port eth3")
    assert said == "ipc: add_port eth3 was not carried out: net_null3 belongs to relay 7, wanted by port-control"
    assert "/tmp/virtio-forwarder4.sock belongs to relay 8, wanted by port-control" in commands.done("add_port eth4")
    assert "relay 5 has net_null5, wanted by file" in commands.done("add_port eth5")
    assert "no relay of eth5 was asked for in this way" in commands.done("del_port eth5")
    assert commands.wanted == {}


def test_what_can_not_be_is_answered_and_removed(commands: CommandFile) -> None:
    commands.vf("eth3", 3)
    assert "this host has no network device eth9; give the command again when it has" in commands.done("add_port eth9")
    assert "this host has no network device eth8" in commands.done("del_port eth8")
    assert "no name that a network device can have" in commands.done("add_port ../../etc")
    assert commands.done("add_port eth3") == "", "a command that is carried out takes the words back"


def test_what_is_no_command_stays(commands: CommandFile) -> None:
    for content in ("root:x:0:0::/root:/bin/sh\n", "add_port\n", "add_port eth0\nadd_port eth1\n", "\0" * 100, ""):
        commands.say(content)
        commands.left(
            "vio_cmd holds no command; write add_port or del_port, and the name of a network device; it is left"
        )
        assert commands.path.read_text() == content
    commands.path.unlink()
    wait_for("nothing to be in the way", lambda: not commands.ipc.faults)


def test_what_is_not_to_be_believed_stays(commands: CommandFile) -> None:
    commands.vf("eth3", 3)
    os.mkfifo(commands.path)
    commands.left("vio_cmd is a FIFO; commands are taken from regular files only; it is left where it is")
    commands.path.unlink()
    other = commands.path.with_name("other")
    other.write_text("add_port eth3")
    commands.path.symlink_to(other)
    commands.left("vio_cmd is a symbolic link")
    commands.path.unlink()
    commands.path.hardlink_to(other)
    commands.left("vio_cmd has 2 names")
    assert commands.wanted == {}
    other.unlink()
    wait_for("the request", lambda: set(commands.wanted) == {3})


def test_whoever_may_write_there_keeps_nobody_busy(
    commands: CommandFile, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Thousands of files that are none, of two kinds, so that there is always something new to say."""
    monkeypatch.setattr(ipc, "CALM_S", 600.0)
    commands.say("no command")
    commands.left("holds no command")
    woken, said = commands.woken, len(caplog.records)
    for number in range(2000):
        commands.path.unlink(missing_ok=True)
        if number % 2:
            commands.path.symlink_to("elsewhere")
        else:
            commands.say("no command")
    assert commands.woken - woken <= 1
    assert len(caplog.records) - said <= 1


def test_another_owner_keeps_its_requests(commands: CommandFile) -> None:
    commands.vf("eth3", 3)
    put(commands.store, "ovsdb", 3, {"vf": "net_null3"})
    assert "no relay of eth3 was asked for in this way" in commands.done("del_port eth3")
    assert [request.owner for request in requests(commands.store)] == ["ovsdb"]


def test_an_interface_that_another_relay_polls_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIO4WD_SYS_DIR", str(tmp_path / "sys"))
    spec = schema.parse('apiVersion: vio4wd/v1\nrelays:\n  - {id: 5, vf: "net_af_packet5,iface=veth1"}\n', "f")
    commands = CommandFile(tmp_path, spec)
    try:
        commands.vf("v0", 3, "net_tap3,iface=veth1")
        assert "interface veth1 belongs to relay 5, wanted by file" in commands.done("add_port v0\n")
    finally:
        commands.close()
