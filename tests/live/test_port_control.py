"""The old command lines against a real engine and watch: what OpenStack's plug runs, in every order that it may.

A VF is a PCI function here, and there is none, so its relay waits for it; VFs with traffic are in tests/sriov.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.vio4wd import ROOT, Instance
from tests.kit.waiting import wait_for

VF, OTHER = "0000:05:08.1", "0000:05:08.2"


class Site(Instance):
    """A host as OpenStack has them: QEMU makes the sockets, and all relays come by port control."""

    def write(self, *relays: str) -> None:
        lines = "".join(f"  - {{{relay}}}\n" for relay in relays)
        self.save(
            "apiVersion: vio4wd/v1\nengine: {worker_cpus: [0]}\n"
            f"vhost_user: {{mode: client, dynamic_sockets: true, directory: {self.sockets}}}\n"
            f'port_control: {{zmq: {{endpoint: "ipc://{self.endpoint}"}}}}\nrelays:\n' + (lines or "  []\n")
        )

    @property
    def endpoint(self) -> Path:
        return self.directory / "z" / "port_control"

    @property
    def guest(self) -> str:
        return str(self.sockets / "vhu1")

    def ask(self, op: str, *options: str) -> subprocess.CompletedProcess[str]:
        """A client, which gives up after 2 s without a reply."""
        module = "reconciler.legacy.clients.port_control"
        command = [sys.executable, "-m", module, f"--zmq_ep=ipc://{self.endpoint}", op, *options]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert "no reply" not in done.stderr, f"{done.stderr}\n{self.log[-3000:]}"
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def plug(self, vf: str = VF) -> subprocess.CompletedProcess[str]:
        return self.ask("add_sock", f"--pci-addr={vf}", f"--vhost-path={self.guest}")

    def unplug(self, vf: str = VF) -> subprocess.CompletedProcess[str]:
        return self.ask("remove_sock", f"--pci-addr={vf}", f"--vhost-path={self.guest}")

    def relays(self) -> dict[int, tuple[str, str]]:
        """VF and owner of each relay that status shows."""
        shown = json.loads(self.call("status", "--json").stdout)
        return {relay["id"]: (relay["vf"], relay["owner"]) for relay in shown["relays"]}

    def opened(self) -> None:
        wait_for("port control", self.endpoint.exists, 60.0)


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as made:
        made.write("id: 0, vf: net_null0")
        yield made


def test_the_plug_in_every_order(site: Site) -> None:
    site.run()
    site.opened()
    assert site.unplug().returncode == 1, "nothing is there yet"
    assert site.plug().returncode == 0
    assert site.relays() == {0: ("net_null0", "file"), 1: (VF, "port-control")}
    again = site.plug()
    assert (again.returncode, "error_code: 16" in again.stdout) == (1, True), again.stdout
    found = site.ask("query_pci", f"--vhost-path={site.guest}")
    assert (found.returncode, found.stdout) == (0, f"{VF}\n")
    assert site.unplug(OTHER).returncode == 1, "the pair does not belong together"
    assert site.unplug().returncode == 0
    assert site.relays() == {0: ("net_null0", "file")}
    assert site.ask("query_pci", f"--vhost-path={site.guest}").returncode == 1
    site.wait_applied()


def test_what_was_plugged_outlives_everything_but_its_removal(site: Site) -> None:
    site.run()
    site.opened()
    assert site.plug().returncode == 0
    kept = {0: ("net_null0", "file"), 1: (VF, "port-control")}
    watch, engine = int(site.status()["watch"]["pid"]), site.engine_pid
    os.kill(watch, signal.SIGKILL)
    wait_for("another watch", lambda: (s := site.status()["watch"]) and s["running"] and s["pid"] != watch, 60.0)
    assert site.relays() == kept
    os.kill(engine, signal.SIGKILL)
    wait_for("another engine", lambda: (seen := site.observed()) is not None and 0 in seen.state.relays, 60.0)
    assert site.relays() == kept
    site.write("id: 0, vf: net_null0", "id: 5, vf: net_null5")
    wait_for("the saved file", lambda: site.relays() == {**kept, 5: ("net_null5", "file")}, 30.0)
    site.terminate()
    shutil.rmtree(site.run_dir)
    site.run_dir.mkdir()
    site.run(wait=False)
    site.opened()
    wait_for("all of it again", lambda: (seen := site.observed()) is not None and 5 in seen.state.relays, 60.0)
    assert site.relays() == {**kept, 5: ("net_null5", "file")}, "after a reboot"
    assert site.unplug().returncode == 0
    assert site.relays() == {0: ("net_null0", "file"), 5: ("net_null5", "file")}


def test_a_plug_during_a_cold_start_is_answered_in_time() -> None:
    with Site(cache=Path("/var/tmp") / f"vio4wd-test-cold-{os.getpid()}") as site:
        try:
            site.write()
            site.run(wait=False)
            site.opened()
            assert site.plug().returncode == 0, "recorded while the loops compile"
            assert site.unplug().returncode == 0
            site.wait_applied()
            assert site.relays() == {}
        finally:
            shutil.rmtree(site.cache, ignore_errors=True)


def test_conflicts_are_refused_at_the_door_and_disturb_nothing(site: Site) -> None:
    site.write("id: 0, vf: net_null0", f"id: 1, vf: {OTHER}, socket: {site.sockets}/own")
    site.run(wait=False)
    site.opened()
    wait_for("relay 0", lambda: (seen := site.observed()) is not None and 0 in seen.state.relays, 60.0)
    before = site.observed()
    taken = site.plug(OTHER)
    assert (taken.returncode, "belongs to relay 1, wanted by file" in taken.stdout) == (1, True), taken.stdout
    busy = site.ask("add", f"--pci-addr={VF}", "--virtio-id=1")
    assert (busy.returncode, f"relay 1 has {OTHER}, wanted by file" in busy.stdout) == (1, True), busy.stdout
    own = site.ask("add_sock", f"--pci-addr={VF}", f"--vhost-path={site.sockets}/own")
    assert (own.returncode, "error_code: 16" in own.stdout) == (1, True), own.stdout
    foreign = site.ask("remove", f"--pci-addr={OTHER}", "--virtio-id=1")
    assert (foreign.returncode, "only that can take it back" in foreign.stdout) == (1, True), foreign.stdout
    assert site.plug().returncode == 0, "relay 2 is the lowest that is free"
    site.write("id: 0, vf: net_null0", f"id: 1, vf: {OTHER}", f"id: 3, vf: {VF}")
    wait_for("the save", lambda: "relay 3" in site.call("plan", str(site.file)).stderr, 30.0)
    assert site.relays()[2] == (VF, "port-control"), "who came first keeps it"
    after = site.observed()
    assert before is not None
    assert after is not None
    assert (after.boot_id, after.state.relays[0]) == (before.boot_id, before.state.relays[0])
