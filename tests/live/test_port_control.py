"""The old command lines against a real engine and watch, beside a relay that has traffic: what OpenStack's plug and
site scripts run, in every order that they may. Relays that have VFs, and their traffic, are in tests/sriov.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from schema.model import MAX_RELAYS
from tests.kit.instance import READY_S
from tests.kit.paths import SHARED_CACHE
from tests.kit.runner.repetitions import LONG
from tests.kit.topology import wait_frames
from tests.kit.waiting import wait_for
from tests.live.openstack_host import NEIGHBOUR, OPENSTACK, OTHER, VF, OpenStackHost, openstack_host


@contextlib.contextmanager
def undisturbed(made: OpenStackHost) -> Iterator[None]:
    """While the block runs, the neighbour loses nothing, and its engine is the same."""
    boot = made.instance.client.hello().boot_id
    with made.topology.flow(NEIGHBOUR) as flow:
        wait_frames(flow)
        yield
        wait_frames(flow)
        report = flow.finish()
    print("the neighbour:", report)
    assert report.clean, report
    assert made.instance.client.hello().boot_id == boot


@pytest.mark.parametrize("listening", [False, True], ids=["before-qemu", "after-qemu"])
def test_the_plug_in_every_order(listening: bool) -> None:
    with openstack_host(OPENSTACK) as made, socket.socket(socket.AF_UNIX) as qemu:
        made.topology.serve(NEIGHBOUR, "io")
        if listening:
            qemu.bind(made.guest)
            qemu.listen()
        with undisturbed(made):
            assert made.unplug().returncode == 1, "nothing is there yet"
            assert made.plug().returncode == 0
            assert made.relays() == {0: (VF, "port-control")}
            again = made.plug()
            assert (again.returncode, "error_code: 16" in again.stdout) == (1, True), again.stdout
            found = made.ask("query_pci", f"--vhost-path={made.guest}", folder="lib")
            assert (found.returncode, found.stdout) == (0, f"{VF}\n")
            assert made.unplug(OTHER).returncode == 1, "the pair does not belong together"
            assert made.unplug().returncode == 0
            assert made.relays() == {}
            assert made.unplug().returncode == 1
            assert made.ask("query_pci", f"--vhost-path={made.guest}").returncode == 1
            made.instance.wait_applied()
        assert made.guest not in str(made.instance.observed())
        assert listening == Path(made.guest).exists(), "QEMU's own file is QEMU's"
        Path(made.guest).unlink(missing_ok=True)


def test_what_was_plugged_outlives_everything_but_its_removal() -> None:
    with openstack_host(OPENSTACK) as made:
        made.topology.serve(NEIGHBOUR)
        made.greet()
        assert made.plug().returncode == 0
        kept = {0: (VF, "port-control")}
        watch, engine = int(made.instance.status()["watch"]["pid"]), made.instance.engine_pid
        os.kill(watch, signal.SIGKILL)
        assert made.topology.ping(NEIGHBOUR).received, "a dead loop stops no relay"
        wait_for("another watch", lambda: (s := made.instance.status()["watch"]) and s["running"] and s["pid"] != watch)
        assert made.relays() == kept
        os.kill(engine, signal.SIGKILL)
        made.greet()
        assert made.relays() == kept
        made.topology.lines[7] = type(made.topology.lines[NEIGHBOUR])(7, "net_null7")
        made.topology.save()
        saved = {**kept, 7: ("net_null7", "file")}
        wait_for("the saved file", lambda: made.relays() == saved, 30.0)
        made.reboot()
        made.instance.run(wait=False)
        made.opened()
        made.greet()
        assert made.relays() == saved
        assert made.unplug().returncode == 0
        assert made.relays() == {7: ("net_null7", "file")}
        made.instance.wait_applied()
        assert made.guest not in str(made.instance.observed())
        assert made.instance.report("history")["applies"]


def test_a_plug_during_a_cold_start_is_answered_in_time() -> None:
    cache = Path("/var/tmp") / f"vio4wd-test-cold-{os.getpid()}"
    try:
        with openstack_host(OPENSTACK, run=False, cache=cache) as made:
            made.instance.run(wait=False)
            made.opened()
            assert made.instance.observed() is None, "the loops compile"
            assert made.plug().returncode == 0, "recorded meanwhile"
            assert made.unplug().returncode == 0
            assert made.plug().returncode == 0
            assert made.instance.observed() is None, "the loops still compile"
            if not LONG:  # compiling takes a minute: the short run goes on with loops that were compiled before
                made.reboot()
                made.instance.cache = SHARED_CACHE
                made.instance.run(wait=False)
            wait_for("the engine", lambda: made.instance.observed() is not None, READY_S, 0.5)
            made.topology.serve(NEIGHBOUR)
            made.greet()
            assert made.relays() == {0: (VF, "port-control")}
            assert made.unplug().returncode == 0
            assert made.relays() == {}
    finally:
        shutil.rmtree(cache, ignore_errors=True)


def test_a_site_script_finds_all_sockets_and_adds_by_number(tmp_path: Path) -> None:
    """It knows the directory from the old configuration file, and waits for the relay's socket before it adds a VF."""
    with openstack_host({"template_sockets": True, "name": "virtio-forwarder%u.sock"}) as made:
        defaults = tmp_path / "virtioforwarder"
        defaults.write_text(f"# made for the site\nVIRTIOFWD_SOCKET_DIR={made.instance.sockets}\n")
        found = re.search(r'^VIRTIOFWD_SOCKET_DIR="?([^"\n]*)"?$', defaults.read_text(), re.MULTILINE)
        assert found is not None
        sockets = [Path(found[1], f"virtio-forwarder{number}.sock") for number in range(MAX_RELAYS)]
        deadline = time.monotonic() + 10.0
        while not sockets[3].exists():
            assert time.monotonic() < deadline, "the script gives up after 10 s"
            time.sleep(0.1)
        assert all(path.is_socket() for path in sockets), "before any VF is added"
        wanted = ["--pci-addr", VF, "--virtio-id", "3"]
        assert made.ask("add", *wanted).returncode == 0
        assert made.relays() == {3: (VF, "port-control")}
        assert made.ask("add", *wanted).returncode == 1
        assert made.ask("add", *wanted, "--conditional").returncode == 0
        assert made.ask("query_pci", f"--vhost-path={sockets[3]}").stdout == f"{VF}\n"
        idle = made.ask("query_pci", f"--vhost-path={sockets[4]}")
        assert (idle.returncode, idle.stdout) == (0, "")
        assert made.ask("remove", *wanted).returncode == 0
        assert made.relays() == {}
        assert made.ask("remove", "--virtio-id", "3", "--conditional").returncode == 0
        assert made.ask("add", *wanted).returncode == 0
        assert made.ask("remove_sock", f"--vhost-path={sockets[3]}").returncode == 0
        assert made.relays() == {}
        assert made.ask("remove_sock", f"--vhost-path={sockets[3]}", "--conditional").returncode == 1
        assert sockets[3].is_socket(), "the sockets outlive the VFs"


BOND = ["--pci-addr", VF, "--pci-addr", OTHER, "--name", "net_bonding3", "--virtio-id", "3"]


def test_a_bond_is_added_by_its_members_and_removed_by_its_name() -> None:
    with openstack_host({"template_sockets": True}) as made:
        assert made.ask("add", *BOND[:4], "--virtio-id", "3").returncode == 1, "it needs a name"
        assert made.ask("add", *BOND).returncode == 0
        assert set(made.relays()) == {3}
        assert made.ask("add", *BOND, "--conditional").returncode == 1, "as it was, unlike a VF"
        busy = made.ask("add", "--pci-addr", OTHER, "--virtio-id", "4")
        assert (busy.returncode, f"{OTHER} belongs to relay 3" in busy.stdout) == (1, True), busy.stdout
        found = made.ask("query_pci", f"--vhost-path={made.instance.socket(3)}")
        assert found.stdout == "net_bonding3\n"
        assert made.ask("remove", "--name", "net_bonding3", "--virtio-id", "3").returncode == 0
        assert made.relays() == {}


def test_what_the_file_has_is_refused_at_once() -> None:
    with openstack_host(OPENSTACK) as made:
        made.topology.serve(NEIGHBOUR, "io")
        line = type(made.topology.lines[NEIGHBOUR])
        made.topology.lines[1] = line(1, OTHER, socket=f"{made.instance.sockets}/own")
        made.topology.save()
        wait_for("relay 1 of the file", lambda: made.relays() == {1: (OTHER, "file")}, 30.0)
        with undisturbed(made):
            for refused, why in (
                (made.plug(OTHER), "belongs to relay 1, wanted by file"),
                (made.ask("add", f"--pci-addr={VF}", "--virtio-id=1"), f"relay 1 has {OTHER}, wanted by file"),
                (made.ask("add_sock", f"--pci-addr={VF}", f"--vhost-path={made.instance.sockets}/own"), "code: 16"),
                (made.ask("remove", f"--pci-addr={OTHER}", "--virtio-id=1"), "only that can take it back"),
                (made.ask("remove_sock", f"--vhost-path={made.instance.sockets}/own"), "only that can take it back"),
            ):
                assert (refused.returncode, why in refused.stdout) == (1, True), refused.stdout
            assert made.relays() == {1: (OTHER, "file")}


def test_what_port_control_has_the_file_is_refused_and_the_plan_says_so() -> None:
    """Relay, VF and socket, one after the other: whoever came first keeps it, and the rest of the file is applied."""
    with openstack_host(OPENSTACK) as made:
        made.topology.serve(NEIGHBOUR, "io")
        line = type(made.topology.lines[NEIGHBOUR])
        assert made.plug().returncode == 0
        with undisturbed(made):
            for number, (wanted, why) in enumerate(
                (
                    (line(0, OTHER), "id 0 belongs to relay 0 of port-control"),
                    (line(2, VF), f"VF {VF} belongs to relay 0 of port-control"),
                    (line(2, OTHER, socket=made.guest), f"socket {made.guest} belongs to relay 0 of port-control"),
                )
            ):
                extra = line(10 + number, f"net_null{number}")
                made.topology.lines = {NEIGHBOUR: made.topology.lines[NEIGHBOUR], wanted.id: wanted, extra.id: extra}
                made.topology.save()
                known = {0: (VF, "port-control"), extra.id: (extra.vf, "file")}
                wait_for("the rest of the file", lambda known=known: made.relays() == known, 30.0)  # type: ignore[misc]
                assert f"relay {wanted.id} of file is left out: {why}" in made.planned()
            assert made.unplug().returncode == 0
            left = {2: (OTHER, "file"), 12: ("net_null2", "file")}
            wait_for("the file's turn", lambda: made.relays() == left, 30.0)
