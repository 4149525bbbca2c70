"""Port control by a file with a real relay behind it: up by `add_port`, through a save, a kill and a restart, gone by
`del_port`. The VF is a veth, which a directory in place of /sys says is VF 3 of a PF."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.fakes.sysfs import Sysfs
from tests.kit.topology import Topology, topology
from tests.kit.waiting import wait_for

NETDEV, RELAY = "eth103", 3


class HostUnderTest:
    """A host with one VF, and a vio4wd that takes commands from a file."""

    def __init__(self, made: Topology) -> None:
        self.topology = made
        self.instance = made.instance
        self.command = made.instance.directory / "vio_cmd"
        self.wire = made.wire(RELAY)

    def save(self, comment: str = "") -> None:
        own = f"port_control: {{ipc: {{file: {self.command}}}}}\n"
        self.topology.lines.clear()
        self.instance.save(self.topology.text + own + comment)

    def say(self, command: str) -> None:
        """As people do it; waits until the file is gone."""
        said = time.monotonic()
        subprocess.run(["sh", "-c", f"echo {command} > {self.command}"], check=True)
        wait_for(f"{command} to be taken", lambda: not self.command.exists())
        wanted = command.startswith("add_port")
        wait_for(command, lambda: (RELAY in self.live()) == wanted, 60.0)
        print(f"{command}: {1000 * (time.monotonic() - said):.0f} ms")

    def live(self) -> Any:
        seen = self.instance.observed()
        return seen.state.relays if seen is not None else {}

    def problems(self) -> str:
        return "\n".join(self.instance.status()["problems"])


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HostUnderTest]:
    monkeypatch.setenv("VIO4WD_SYS_DIR", str(tmp_path / "sys"))
    host = Sysfs(tmp_path / "sys")
    with topology(relays=(), run=False) as made:
        one = HostUnderTest(made)
        host.vf("0000:05:00.0", RELAY, one.wire.vf_device)
        host.netdev(NETDEV, device=one.wire.vf_device)
        one.save()
        one.instance.run()
        yield one


def test_a_port_of_a_file_passes_traffic_and_outlives_its_watch(host: HostUnderTest) -> None:
    host.say(f"add_port {NETDEV}")
    host.topology.boot(RELAY)
    host.topology.wait_ping(RELAY)
    assert host.topology.ping(RELAY, 20).lost == 0
    status = host.topology.relay_status(RELAY)
    assert (status["owner"], status["condition"]) == ("ipc", "Ready")

    session = host.topology.session(RELAY)
    host.save("# saved again\n")
    os.kill(host.instance.status()["watch"]["pid"], signal.SIGKILL)
    wait_for("another watch", lambda: host.instance.status()["watch"]["running"], 60.0, 0.2)
    assert host.topology.ping(RELAY, 20).lost == 0
    assert host.topology.session(RELAY) == session, "nobody touched the relay"

    host.say(f"del_port {NETDEV}")
    wait_for("its socket to go", lambda: not host.instance.socket(RELAY).exists())
    assert host.topology.changes().count("remove relay:3") == 1


def test_a_port_of_a_file_is_there_again_after_a_start(host: HostUnderTest) -> None:
    host.say(f"add_port {NETDEV}")
    host.instance.terminate()
    host.instance.run(wait=False)
    wait_for("the relay", lambda: RELAY in host.live(), 120.0)
    host.say(f"del_port {NETDEV}")


def test_what_is_refused_is_said_in_status(host: HostUnderTest) -> None:
    subprocess.run(["sh", "-c", f"echo add_port nothere > {host.command}"], check=True)
    said = "ipc: add_port nothere was not carried out: this host has no network device nothere"
    wait_for(said, lambda: said in host.problems(), 60.0, 0.2)
    host.command.symlink_to("/etc/passwd")
    said = f"ipc: {host.command} is a symbolic link; commands are taken from regular files only"
    wait_for(said, lambda: said in host.problems(), 60.0, 0.2)
    assert host.instance.log.count("is a symbolic link") == 1
    host.command.unlink()
    host.say(f"add_port {NETDEV}")
    wait_for("nothing to be wrong", lambda: "ipc" not in host.problems(), 60.0, 0.2)
