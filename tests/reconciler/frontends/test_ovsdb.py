"""The frontend for Open vSwitch's database, against a real server and the real ovs-vsctl; without an engine: only what
it requests is looked at."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.frontends import ovsdb
from reconciler.frontends.backend import Tickets
from reconciler.frontends.ovsdb import Ovsdb
from state import relay_requests
from state.store import Store
from tests.kit.cleanup import short_directory
from tests.kit.fakes.sysfs import Sysfs
from tests.kit.system.ovsdb_server import BRIDGE, OvsdbServer
from tests.kit.waiting import wait_for

pytestmark = pytest.mark.needs("ovs")

MARK = "external_ids:virtio_forwarder=1"


class Site:
    """A database, a host with VFs 0 to 5 and their interfaces, and the frontend between them, open or not."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.sysfs = Sysfs(directory / "sys")
        for index in range(6):
            self.sysfs.vf("pf", index, self.vf(index))
            self.sysfs.netdev(f"eth{index}", device=self.vf(index))
        self.server = OvsdbServer(directory)
        self.asked = 0
        self.exchange = Tickets(self._rouse)
        self.frontend: Ovsdb | None = None

    def _rouse(self) -> None:
        self.asked += 1

    @staticmethod
    def vf(index: int) -> str:
        return f"0000:05:08.{index}"

    def open(self, path: Path | None = None) -> None:
        self.frontend = Ovsdb(str(path or self.server.socket), self.directory / "state", self.exchange)

    def close(self) -> None:
        if self.frontend is not None:
            self.frontend.stop()
            self.frontend = None

    def wanted(self) -> dict[int, str]:
        store = Store(self.directory / "state")
        with contextlib.closing(store):
            return {
                request.relay: request.wanted["vf"]
                for request in relay_requests.requests(store)
                if request.owner == "ovsdb"
            }

    def wait(self, *indices: int) -> None:
        """Until these VFs are wanted, and no others."""
        expected = {index: self.vf(index) for index in indices}
        try:
            wait_for(f"relays {indices}", lambda: self.wanted() == expected, 30.0)
        except AssertionError as error:
            raise AssertionError(f"{error}; wanted are {self.wanted()}, faults {self.faults()}") from None

    def faults(self) -> tuple[str, ...]:
        return self.frontend.faults if self.frontend is not None else ()

    def wait_fault(self, words: str) -> None:
        wait_for(f"a fault with '{words}'", lambda: any(words in fault for fault in self.faults()), 30.0)

    def wait_no_fault(self) -> None:
        wait_for("no fault", lambda: not self.faults(), 30.0)

    def add(self, name: str, *more: str) -> None:
        self.server.bridge()
        self.server.vsctl("add-port", BRIDGE, name, *more)

    def add_marked(self, name: str) -> None:
        self.add(name, "--", "set", "interface", name, MARK)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    made = Site(short_directory())
    monkeypatch.setenv("VIO4WD_SYS_DIR", str(made.sysfs.root))
    with made.server:
        try:
            yield made
        finally:
            made.close()
            made.exchange.close()
            shutil.rmtree(made.directory)


def test_the_users_guide_line_by_line(site: Site) -> None:
    site.open()
    site.add_marked("eth1")
    site.wait(1)
    site.add("eth2")
    site.server.vsctl("set", "interface", "eth2", MARK)
    site.wait(1, 2)
    site.server.vsctl("remove", "interface", "eth2", "external_ids", "virtio_forwarder")
    site.wait(1)
    assert "eth2" in str(site.server.vsctl("list-ports", BRIDGE)), "it stays on its bridge"
    site.server.vsctl("del-port", BRIDGE, "eth1")
    site.wait()
    assert (site.faults(), site.asked > 0) == ((), True)


def test_both_keys_and_any_integer(site: Site) -> None:
    site.open()
    for name, mark in (("eth0", "virtio_relay=0"), ("eth1", "virtio_forwarder=0x10"), ("eth2", "virtio_relay=-1")):
        site.add(name, "--", "set", "interface", name, f"external_ids:{mark}", "external_ids:iface-id=x")
    site.wait(0, 1, 2)
    site.server.vsctl("set", "interface", "eth0", "external_ids:virtio_relay=77")
    site.server.vsctl("set", "interface", "eth1", "external_ids:virtio_forwarder=never")
    site.wait(0, 2)
    site.wait_fault('interface "eth1": virtio_forwarder="never" is no integer')
    site.server.vsctl("set", "interface", "eth1", MARK)
    site.wait(0, 1, 2)
    site.wait_no_fault()


def test_what_is_there_at_the_start_and_what_changed_while_the_frontend_was_closed(site: Site) -> None:
    site.add_marked("eth1")
    site.add_marked("eth2")
    site.open()
    site.wait(1, 2)
    site.close()
    assert site.wanted() == {1: site.vf(1), 2: site.vf(2)}, "closed, it changes nothing"
    site.server.vsctl("del-port", BRIDGE, "eth1")
    site.add_marked("eth3")
    site.open()
    site.wait(2, 3)


def test_while_the_database_is_away_nothing_changes_and_then_the_difference_is_made_up(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ovsdb, "SAY_AFTER_S", 0.0)
    site.add_marked("eth1")
    site.add_marked("eth2")
    site.open()
    site.wait(1, 2)
    asked = site.asked
    site.server.kill()
    site.wait_fault("no database of Open vSwitch can be read")
    site.server.start()
    site.wait_no_fault()
    assert site.wanted() == {1: site.vf(1), 2: site.vf(2)}
    site.server.kill()
    site.wait_fault("its relays stay")
    site.server.create("other.db")
    site.server.start("other.db")
    site.add_marked("eth2")
    site.add_marked("eth4")
    site.wait(2, 4)
    assert site.asked > asked


def test_a_frontend_whose_database_is_not_there_yet_waits_for_it(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ovsdb, "SAY_AFTER_S", 0.0)
    site.add_marked("eth1")
    site.open()
    site.wait(1)
    site.close()
    site.server.kill()
    site.server.socket.unlink()
    site.open()
    site.wait_fault(f"can be read from {site.server.socket}; it is waited for")
    assert site.wanted() == {1: site.vf(1)}
    site.server.start()
    site.server.vsctl("del-port", BRIDGE, "eth1")
    site.wait()
    site.wait_no_fault()


def test_network_devices_that_come_and_go(site: Site) -> None:
    site.open()
    site.add_marked("vf9")
    site.add_marked("eth1")
    site.wait(1)
    site.wait_fault('interface "vf9": this host has no network device vf9')
    site.sysfs.vf("pf", 9, "0000:05:09.1")
    site.sysfs.netdev("vf9", device="0000:05:09.1")
    wait_for("the VF that came", lambda: site.wanted() == {1: site.vf(1), 9: "0000:05:09.1"}, 30.0)
    site.wait_no_fault()
    site.sysfs.remove("vf9")
    site.sysfs.remove("eth1")
    site.add_marked("eth2")
    wait_for("the third", lambda: site.wanted().keys() == {1, 2, 9}, 30.0)
    site.server.vsctl("del-port", BRIDGE, "eth1")
    wait_for("its end", lambda: site.wanted().keys() == {2, 9}, 30.0)


def test_a_stopped_server_costs_nothing(site: Site) -> None:
    site.add_marked("eth1")
    site.open()
    site.wait(1)
    site.server.signal(signal.SIGSTOP)
    site.close()
    site.server.signal(signal.SIGCONT)
    site.open()
    site.server.vsctl("del-port", BRIDGE, "eth1")
    site.wait()


class Impostor:
    """A server in place of the database's: `serve` gets each connection."""

    def __init__(self, path: Path, serve: Callable[[socket.socket], None]) -> None:
        path.unlink(missing_ok=True)
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen()
        self._serve = serve
        self.served = 0
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                self._open.append(connection)
                with contextlib.suppress(OSError):
                    self._serve(connection)
                self.served += 1

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()
        for connection in self._open:
            connection.close()


def silent(connection: socket.socket) -> None:
    del connection


def garbage(connection: socket.socket) -> None:
    connection.sendall(os.urandom(65536))
    connection.close()


def half(connection: socket.socket) -> None:
    connection.sendall(b'{"id":')
    connection.close()


def wrong(connection: socket.socket) -> None:
    """Messages as JSON-RPC has them, with rubbish inside."""
    for message in (b"{}", b"[]", b'{"id":null,"method":"update3","params":[1,2,3]}'):
        connection.sendall(message)
    connection.recv(1 << 16)
    connection.sendall(b'{"id":null,"method":"monitor_canceled","params":[]}')


def endless(connection: socket.socket) -> None:
    connection.sendall(b'{"id":"')
    while True:
        connection.sendall(b"x" * 65536)


@pytest.mark.parametrize("serve", [silent, garbage, half, wrong, endless])
def test_whatever_a_server_says_the_frontend_goes_on(
    site: Site, serve: Callable[[socket.socket], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ovsdb, "SAY_AFTER_S", 0.0)
    monkeypatch.setattr(ovsdb, "SILENCE_S", 0.5)
    monkeypatch.setattr(ovsdb, "MAX_MESSAGE_BYTES", 32 * 1024)
    site.add_marked("eth1")
    site.open()
    site.wait(1)
    site.server.kill()
    impostor = Impostor(site.server.socket, serve)
    wait_for("it to be asked again and again", lambda: impostor.served >= 2, 60.0)
    impostor.close()
    site.wait_fault("no database of Open vSwitch can be read")
    assert site.wanted() == {1: site.vf(1)}
    site.server.socket.unlink()
    site.server.start()
    site.add_marked("eth3")
    site.wait(1, 3)
    site.wait_no_fault()


def test_a_copy_that_has_gone_wrong_is_made_anew(site: Site) -> None:
    site.add_marked("eth1")
    site.add_marked("eth2")
    altered: list[bytes] = []

    def alter(data: bytes) -> bytes:
        if b'"modify"' in data and not altered:
            altered.append(data)
            return data.replace(b'"modify"', b'"mangle"')
        return data

    def pass_on(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(alter(data))

    def serve(connection: socket.socket) -> None:
        server = socket.socket(socket.AF_UNIX)
        server.connect(str(site.server.socket))
        threading.Thread(target=pass_on, args=(connection, server), daemon=True).start()
        threading.Thread(target=pass_on, args=(server, connection), daemon=True).start()

    front = site.directory / "front.sock"
    impostor = Impostor(front, serve)
    site.open(front)
    site.wait(1, 2)
    site.server.vsctl("remove", "interface", "eth1", "external_ids", "virtio_forwarder")
    site.wait(2)
    assert (len(altered), impostor.served) == (1, 2)
    site.close()
    impostor.close()


def test_a_server_that_hangs_is_said_and_its_relays_stay(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ovsdb, "PROBE_MS", 1000)
    site.add_marked("eth1")
    site.open()
    site.wait(1)
    site.server.signal(signal.SIGSTOP)
    site.wait_fault("no database of Open vSwitch can be read")
    assert site.wanted() == {1: site.vf(1)}
    site.server.signal(signal.SIGCONT)
    site.wait_no_fault()


def test_another_database_on_that_socket_changes_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ovsdb, "SAY_AFTER_S", 0.0)
    site.add_marked("eth1")
    site.open()
    site.wait(1)
    site.server.unload()
    site.wait_fault("no database of Open vSwitch can be read")
    assert site.wanted() == {1: site.vf(1)}
    site.server.load()
    site.wait_no_fault()
    site.server.vsctl("del-port", BRIDGE, "eth1")
    site.wait()


def test_a_large_database_with_many_marks_that_are_none(site: Site) -> None:
    site.server.fill(2000, mark_every=50)
    site.add_marked("eth1")
    site.open()
    site.wait(1)
    site.wait_fault("and 20 more marks that can't be carried out")
    site.server.vsctl("del-port", BRIDGE, "eth1")
    site.wait()
