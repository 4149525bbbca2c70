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
from tests.kit.testbed import Scene, scene
from tests.kit.waiting import wait_for

NETDEV, RELAY = "eth103", 3


class Site:
    """A host with one VF, and a vio4wd that takes commands from a file."""

    def __init__(self, made: Scene) -> None:
        self.scene = made
        self.instance = made.instance
        self.command = made.instance.directory / "vio_cmd"
        self.wire = made.wire(RELAY)

    def save(self, comment: str = "") -> None:
        own = f"port_control: {{ipc: {{file: {self.command}}}}}\n"
        self.scene.lines.clear()
        self.instance.save(self.scene.text + own + comment)

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
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Site]:
    monkeypatch.setenv("VIO4WD_SYS_DIR", str(tmp_path / "sys"))
    host = Sysfs(tmp_path / "sys")
    with scene(relays=(), run=False) as made:
        one = Site(made)
        host.vf("0000:05:00.0", RELAY, one.wire.vf_device)
        host.netdev(NETDEV, device=one.wire.vf_device)
        one.save()
        one.instance.run()
        yield one


def test_a_port_of_a_file_passes_traffic_and_outlives_its_watch(site: Site) -> None:
    site.say(f"add_port {NETDEV}")
    site.scene.boot(RELAY)
    site.scene.wait_ping(RELAY)
    assert site.scene.ping(RELAY, 20).lost == 0
    status = site.scene.relay_status(RELAY)
    assert (status["owner"], status["condition"]) == ("ipc", "Ready")

    session = site.scene.session(RELAY)
    site.save("# saved again\n")
    os.kill(site.instance.status()["watch"]["pid"], signal.SIGKILL)
    wait_for("another watch", lambda: site.instance.status()["watch"]["running"], 60.0, 0.2)
    assert site.scene.ping(RELAY, 20).lost == 0
    assert site.scene.session(RELAY) == session, "nobody touched the relay"

    site.say(f"del_port {NETDEV}")
    wait_for("its socket to go", lambda: not site.instance.socket(RELAY).exists())
    assert site.scene.changes().count("remove relay:3") == 1


def test_a_port_of_a_file_is_there_again_after_a_start(site: Site) -> None:
    site.say(f"add_port {NETDEV}")
    site.instance.terminate()
    site.instance.run(wait=False)
    wait_for("the relay", lambda: RELAY in site.live(), 120.0)
    site.say(f"del_port {NETDEV}")


def test_what_is_refused_is_said_in_status(site: Site) -> None:
    subprocess.run(["sh", "-c", f"echo add_port nothere > {site.command}"], check=True)
    said = "ipc: add_port nothere was not carried out: this host has no network device nothere"
    wait_for(said, lambda: said in site.problems(), 60.0, 0.2)
    site.command.symlink_to("/etc/passwd")
    said = f"ipc: {site.command} is a symbolic link; commands are taken from regular files only"
    wait_for(said, lambda: said in site.problems(), 60.0, 0.2)
    assert site.instance.log.count("is a symbolic link") == 1
    site.command.unlink()
    site.say(f"add_port {NETDEV}")
    wait_for("nothing to be wrong", lambda: "ipc" not in site.problems(), 60.0, 0.2)
