"""virtio-forwarder's configuration file at work: each of its variables that has an effect, on a real engine with guests
and traffic. VFs are veths, given as virtual devices or by a directory in place of /sys; PCI functions are in
tests/sriov."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schema.model import MAX_RELAYS
from schema.system.logs import LEVELS
from tests.kit.fakes.sysfs import Sysfs
from tests.kit.guests.guest import TestpmdGuest
from tests.kit.instance import Instance
from tests.kit.paths import ROOT
from tests.kit.spec_file import save
from tests.kit.system import ovsdb_server as ovsdb
from tests.kit.topology import CPUS, GUEST_CPUS, MAIN_CPU, WORKER_CPU, Topology, topology
from tests.kit.waiting import wait_for

pytestmark = pytest.mark.skipif(len(CPUS) < 2, reason="needs two CPUs")

JUMBO = 9000
TOKEN = "14d63f20-8445-11ea-8900-1f9ce7d5650d"
MRG_RXBUF, GUEST_CSUM = 1 << 15, 1 << 1
"""Feature bits of linux/virtio_net.h."""
COMMAND_FILE = Path("/tmp/vio_cmd")
"""Where the configuration file has it, with no variable to move it."""


class HostUnderTest:
    """A host that keeps its configuration file."""

    def __init__(self, made: Topology, sys: Path) -> None:
        self.topology = made
        self.instance = made.instance
        self.host = Sysfs(sys)
        self.file = made.instance.directory / "virtioforwarder"
        self.variables = {
            "VIRTIOFWD_CPU_MASK": str(WORKER_CPU),
            "VIRTIOFWD_MASTER_LCORE": str(MAIN_CPU),
            "VIRTIOFWD_SOCKET_OWNER": "",
            "VIRTIOFWD_SOCKET_GROUP": "",
            "VIRTIOFWD_SOCKET_DIR": str(self.instance.sockets),
            "VIRTIOFWD_SOCKET_FNAME_PATTERN": "vm%u.sock",
            "VIRTIOFWD_OVSDB_SOCK_PATH": str(self.instance.directory / "no-database"),
        }

    def save(self, **variables: str) -> None:
        """With these besides, from now on; their prefix is left out."""
        self.variables |= {f"VIRTIOFWD_{name}": value for name, value in variables.items()}
        save(self.file, "".join(f"{name}={value}\n" for name, value in self.variables.items()))

    def run(self, **variables: str) -> None:
        self.save(**variables)
        self.instance.start("run", "--defaults", str(self.file), name="run")
        self.instance.wait_state("the engine", lambda _: True, 120.0)

    def vf(self, relay: int) -> str:
        """A veth, of which /sys says that it is this VF of a PF. Gives the name of its network device."""
        wire = self.topology.wire(relay)
        self.host.vf("0000:05:00.0", relay, wire.vf_device)
        self.host.netdev(f"eth{relay}", device=wire.vf_device)
        return f"eth{relay}"

    def wait_relay(self, relay: int, there: bool = True) -> None:
        self.instance.wait_state(f"relay {relay}", lambda state: (relay in state.relays) == there, 60.0)

    def client(self, name: str, *options: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", f"reconciler.legacy.clients.{name}", *options]
        return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    def passes(self, relay: int) -> None:
        """Packets go both ways. That none is lost is shown elsewhere, on guests with a CPU of their own."""
        self.topology.wait_ping(relay)
        answered = self.topology.ping(relay, 20)
        assert answered.received, f"{answered} {self.topology.counters(relay)}"
        print(f"relay {relay}: {answered}")

    def endpoint(self, name: str) -> str:
        return f"ipc://{self.instance.directory}/z/{name}"

    def in_force(self) -> str:
        """The hash of what is; empty before anything is."""
        report = self.instance.status()["watch"] or {}
        return str((report.get("in_force") or {}).get("sha256", ""))


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HostUnderTest]:
    monkeypatch.setenv("VIO4WD_SYS_DIR", str(tmp_path / "sys"))
    with topology(relays=(), run=False, mtu=JUMBO) as made:
        yield HostUnderTest(made, tmp_path / "sys")


def test_a_static_vf_with_everything_that_it_can_be_given(host: HostUnderTest) -> None:
    services = {f"ZMQ_{name}_EP": host.endpoint(name) for name in ("STATS", "CONFIG", "CORE_SCHED")}
    wire = host.topology.wire(3)
    host.variables["VIO4WD_CORE_SCHED_ENABLE"] = "true"
    host.run(
        STATIC_VFS=f"({wire.vf_device}=3)",
        CPU_MASK=hex(1 << WORKER_CPU),
        CPU_PINS=f"'3:{WORKER_CPU}'",
        JUMBO="y",
        MRGBUF="y",
        TSO="y",
        VFIO_VF_TOKEN="0",
        **services,
    )
    host.wait_relay(3)
    guest = TestpmdGuest.started([host.instance.socket(3)], cpus=GUEST_CPUS, device=",mrg_rxbuf=1")
    host.topology.guests[3] = guest
    host.passes(3)
    status = host.topology.wait_condition(3, "Ready")
    assert (status["owner"], status["cpus"]) == ("static", [WORKER_CPU, WORKER_CPU])

    seen = host.instance.observed()
    assert seen is not None
    (port,) = seen.state.ports.values()
    assert (port.mtu, port.checksums, port.tso) == (JUMBO, True, True)
    assert seen.state.sockets[str(host.instance.socket(3))].features == ("csum", "mrgbuf", "tso")
    assert int(host.topology.live_socket(3).features, 16) & MRG_RXBUF
    assert (seen.state.engine.main_cpu, seen.state.engine.vfio_vf_token) == (MAIN_CPU, TOKEN)
    assert {worker.cpu for worker in seen.state.workers} == {WORKER_CPU}

    stats, sched = f"--stats-ep={host.endpoint('STATS')}", f"--sched-ep={host.endpoint('CORE_SCHED')}"
    shown = host.client("stats", stats)
    assert re.search(r"^relay_3\.vf_to_vm\.\S*pkts_rx_from_vf=[1-9]", shown.stdout, re.MULTILINE), shown
    assert str(WORKER_CPU) in host.client("config", f"--config-ep={host.endpoint('CONFIG')}").stdout
    assert host.client("core_pinner", stats, sched, f"--virtio-cpu=3:{WORKER_CPU},{WORKER_CPU}").returncode == 0
    assert host.client("core_pinner", stats, sched, f"--virtio-cpu=3:{MAIN_CPU},{MAIN_CPU}").returncode == 1

    session = host.topology.session(3)
    other = host.topology.wire(4)
    host.save(STATIC_VFS=f"({wire.vf_device}=3 {other.vf_device}=4)")
    host.wait_relay(4)
    host.save(STATIC_VFS=f"({wire.vf_device}=3 ")
    line = list(host.variables).index("VIRTIOFWD_STATIC_VFS") + 1
    said = f"{host.file}:{line}:1: an array is opened and never closed"
    wait_for(said, lambda: said in host.instance.call("status").stdout.replace("\n", ""), 60.0, 0.2)
    host.save(STATIC_VFS=f"({wire.vf_device}=3)")
    host.wait_relay(4, there=False)
    assert host.topology.session(3) == session, "a relay that stays is not touched"
    plan = host.instance.call("plan", "--defaults", str(host.file))
    assert "Nothing to do" in plan.stdout, plan

    host.save(STATIC_VFS="")
    wait_for("the guest to hold it back", lambda: bool(host.instance.status()["watch"]["held"]), 60.0, 0.2)
    assert host.topology.session(3) == session
    done = host.instance.call("apply", "--defaults", str(host.file), "--allow-destroy", "relay:3")
    assert done.returncode == 0, done
    host.wait_relay(3, there=False)


@pytest.mark.skipif(ovsdb.missing() is not None, reason=f"needs {ovsdb.missing()}")
def test_sockets_are_there_before_any_vf_and_port_control_adds_one(host: HostUnderTest) -> None:
    """The guest comes first, as those do whose script waits for the socket and adds the VF afterwards."""
    netdev = host.vf(5)
    directory = host.instance.directory / "db"
    directory.mkdir()
    with ovsdb.OvsdbServer(directory) as database:
        host.run(OVSDB_SOCK_PATH=str(database.socket), CPU_PINS=f"5:{WORKER_CPU}")
        wait_for("all sockets", lambda: len(list(host.instance.sockets.iterdir())) == MAX_RELAYS, 60.0)
        assert all(host.instance.socket(id_).is_socket() for id_ in range(MAX_RELAYS))
        assert f"{MAX_RELAYS} that no relay uses yet (owner: template)" in host.instance.call("status").stdout
        host.topology.boot(5)
        session = host.topology.session(5)
        database.bridge()
        mark = "external_ids:virtio_forwarder=1"
        database.vsctl("add-port", ovsdb.BRIDGE, netdev, "--", "set", "interface", netdev, mark)
        host.passes(5)
        assert host.topology.session(5) == session, "the guest did not see its socket go"
        assert host.topology.wait_condition(5, "Ready")["owner"] == "ovsdb"
        database.vsctl("remove", "interface", netdev, "external_ids", "virtio_forwarder")
        host.wait_relay(5, there=False)
        assert host.instance.socket(5).is_socket(), "the template's stays"
        assert host.topology.session(5) == session


def test_port_control_by_the_command_file(host: HostUnderTest) -> None:
    assert not os.path.lexists(COMMAND_FILE), f"{COMMAND_FILE} is in the way of this test"
    netdev = host.vf(6)
    host.run(IPC_PORT_CONTROL="y")
    try:
        COMMAND_FILE.write_text(f"add_port {netdev}\n")
        host.wait_relay(6)
        host.topology.boot(6)
        host.passes(6)
        COMMAND_FILE.write_text(f"del_port {netdev}\n")
        host.wait_relay(6, there=False)
    finally:
        COMMAND_FILE.unlink(missing_ok=True)


def test_dynamic_sockets_and_client_mode(host: HostUnderTest) -> None:
    """QEMU makes the sockets; none is there before port control asks for it."""
    wire = host.topology.wire(7)
    endpoint = host.endpoint("port_control")
    sched = host.endpoint("core_sched")
    host.variables["VIO4WD_CORE_SCHED_ENABLE"] = "yes"
    host.run(
        ZMQ_CORE_SCHED_EP=sched,
        DYNAMIC_SOCKETS="true",
        VHOST_CLIENT="y",
        ZMQ_PORT_CONTROL_EP=endpoint,
        STATIC_VFS=f"{wire.vf_device}=7",
    )
    host.wait_relay(7)
    assert list(host.instance.sockets.iterdir()) == []
    guest = TestpmdGuest.started([host.instance.socket(7)], cpus=GUEST_CPUS, device=",server=1")
    host.topology.guests[7] = guest
    host.passes(7)
    wait_for("port control", lambda: Path(endpoint.removeprefix("ipc://")).exists(), 60.0)
    assert not Path(sched.removeprefix("ipc://")).exists(), "only exactly true opens it"
    path = f"--vhost-path={host.instance.sockets}/vhu1"
    assert host.client("port_control", f"--zmq_ep={endpoint}", "add_sock", "--pci-addr=05:08.1", path).returncode == 0
    shown = {relay["id"]: relay["owner"] for relay in host.instance.status()["relays"]}
    assert shown == {0: "port-control", 7: "static"}
    taken = ("add", "--virtio-id=7", "--pci-addr=05:08.2")
    refused = host.client("port_control", f"--zmq_ep={endpoint}", *taken)
    assert refused.returncode == 1
    assert "wanted by static" in refused.stdout + refused.stderr
    assert host.client("port_control", f"--zmq_ep={endpoint}", "remove_sock", path).returncode == 0
    guest = host.topology.guests.pop(7)
    guest.kill()
    host.instance.socket(7).unlink(missing_ok=True)


class Logged:
    """What was logged, by severity, as far as it came after a point."""

    def __init__(self, host: HostUnderTest) -> None:
        self.host = host
        self.begins = len(host.instance.log)

    def since(self) -> set[str]:
        text = self.host.instance.log[self.begins :]
        ours = set(re.findall(r"^\S+ \S+ vio4wd\.\w+ ([A-Z]+) ", text, re.MULTILINE))
        return ours | ({"DPDK"} if re.search(r"^(EAL|VHOST_\w+|\w*ethdev\w*): ", text, re.MULTILINE | re.I) else set())


def test_the_log_level_is_a_threshold_for_everybody(host: HostUnderTest) -> None:
    """Each save gives rise to an info (it is in force), a warning (a remark), an error (an endpoint that can't be) and,
    since a socket goes and comes, to what DPDK says for debugging."""
    host.variables["VIRTIOFWD_ZERO_COPY"] = "y"
    (host.instance.directory / "file").touch()
    host.run(LOG_LEVEL="6")
    found = [_logged_at(host, level) for level in (7, 6, 5, 4, 3, 2, 1, 0, 6)]
    expected = [{"DPDK", "INFO", "WARNING", "ERROR"}, {"INFO", "WARNING", "ERROR"}, {"WARNING", "ERROR"}]
    expected += [{"WARNING", "ERROR"}, {"ERROR"}, set(), set(), set(), {"INFO", "WARNING", "ERROR"}]
    assert found == expected, host.instance.log[-6000:]


def _logged_at(host: HostUnderTest, level: int) -> set[str]:
    """First the level alone; then something happens."""
    host.save(LOG_LEVEL=str(level))
    name = LEVELS[level]
    host.instance.wait_state(name, lambda state: state.engine.log_level == name)
    wait_for("the watch to have done that", lambda: bool(host.in_force()), 30.0)
    logged = Logged(host)
    pattern = f"at{level}-{logged.begins}-%u"
    missing = f"{host.instance.directory}/file/{logged.begins}"
    host.save(SOCKET_FNAME_PATTERN=pattern, ZMQ_STATS_EP=f"ipc://{missing}")
    path = host.instance.sockets / pattern.replace("%u", "63")
    wait_for(f"the sockets of level {level}", path.is_socket, 60.0)
    wait_for("the fault", lambda: any(missing in each for each in host.instance.status()["problems"]), 60.0, 0.2)
    return logged.since()


class Peopled(Instance):
    """A vio4wd whose host has the users that libvirt makes: they are shown to it, and to nobody else."""

    def people(self, there: bool = True) -> None:
        for name, line in (("passwd", "libvirt-qemu:x:64055:108::/:/bin/false"), ("group", "kvm:x:9908:")):
            text = Path("/etc", name).read_text()
            kept = "".join(each for each in text.splitlines(True) if each.split(":")[0] != line.split(":")[0])
            (self.directory / name).write_text(f"{kept}{line}\n" if there else kept)

    def command(self, *arguments: str) -> list[str]:
        shown = " && ".join(f"mount --bind {self.directory}/{name} /etc/{name}" for name in ("passwd", "group"))
        return ["unshare", "--mount", "sh", "-c", f'{shown} && exec "$@"', "sh", *super().command(*arguments)]


def test_whose_the_sockets_are() -> None:
    """Unset, or set to nothing: libvirt's user and group, or where there are none the process's own. Set: those."""
    with Peopled() as instance:
        instance.people()
        file = instance.directory / "virtioforwarder"
        base = f"VIRTIOFWD_CPU_MASK={WORKER_CPU}\nVIRTIOFWD_MASTER_LCORE={MAIN_CPU}\n"
        base += f"VIRTIOFWD_SOCKET_DIR={instance.sockets}\n"
        said = {
            "": (64055, 9908),
            "VIRTIOFWD_SOCKET_OWNER=65533\nVIRTIOFWD_SOCKET_GROUP=kvm\n": (65533, 9908),
            "VIRTIOFWD_SOCKET_OWNER=\nVIRTIOFWD_SOCKET_GROUP=\n": (64055, 9908),
            "VIRTIOFWD_SOCKET_OWNER=root\nVIRTIOFWD_SOCKET_GROUP=''\n": (0, 9908),
        }
        save(file, base)
        instance.start("run", "--defaults", str(file), name="run")
        for variables, owners in said.items():
            save(file, base + variables)
            wait_for(f"sockets of {owners}", lambda owners=owners: _owned(instance, owners), 120.0)  # type: ignore[misc]
        instance.people(there=False)
        save(file, base)
        wait_for("sockets of our own", lambda: _owned(instance, (os.geteuid(), os.getegid())), 120.0)
        for account in ("user 'libvirt-qemu'", "group 'kvm'"):
            assert f"this host has no {account}; name QEMU's" in instance.log


def _owned(instance: Instance, owners: tuple[int, int]) -> bool:
    """Whether all sockets are there, are these's, and let nobody else in."""
    names = [instance.sockets / f"virtio-forwarder{id_}.sock" for id_ in range(MAX_RELAYS)]
    found: list[Any] = [path.stat() for path in names if path.is_socket()]
    return len(found) == MAX_RELAYS and all(
        (each.st_uid, each.st_gid, each.st_mode & 0o777) == (*owners, 0o660) for each in found
    )
