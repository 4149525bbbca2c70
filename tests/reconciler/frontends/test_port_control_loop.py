"""Port control in front of a whole watch, over ZeroMQ, with a fake engine: what is answered OK is in force, whatever
the file goes through meanwhile. A VF is a PCI function here, and there is none: the look at the host is left out."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from reconciler.frontends.backend import PortControlBackend
from reconciler.host.vfio import HostVfs
from reconciler.legacy.clients.wire import Service
from reconciler.legacy.virtioforwarder_pb2 import PortControlRequest, PortControlResponse
from reconciler.policy.pause import pause_file
from reconciler.watch.schedule import Timing
from schema.paths import sync_file
from schema.system.locks import APPLY, locked
from tests.kit.fakes.fake_engine import Served
from tests.kit.fakes.watch_harness import NEVER_POLL, WatchHarness, document
from tests.kit.system.small_disk import SmallDisk, small_disk
from tests.kit.waiting import wait_for

ADD, REMOVE = PortControlRequest.ADD, PortControlRequest.REMOVE


class Asked(WatchHarness):
    """A watch with port control, which may be asked from any thread."""

    @property
    def endpoint(self) -> Path:
        return self.directory / "z" / "port_control"

    def text(self, *relays: int, more: str = "") -> str:
        return document(*relays, more=f'port_control: {{zmq: {{endpoint: "ipc://{self.endpoint}"}}}}\n{more}')

    def ask(self, op: PortControlRequest.Op, relay: int, slot: int | None = None) -> PortControlResponse:
        address = PortControlRequest.PciAddress(domain=0, bus=5, slot=relay if slot is None else slot, function=1)
        request = PortControlRequest(op=op, pci_addrs=[address], virtio_id=relay, conditional=False)
        with Service(f"ipc://{self.endpoint}") as service:
            return service.ask(request, PortControlResponse())

    def asked(self, op: PortControlRequest.Op, relay: int) -> bool:
        """Whether it was OK; then it must be in force."""
        done = self.ask(op, relay)
        if done.status == PortControlResponse.OK:
            assert (relay in self.engine.state.relays) == (op == ADD), f"OK was said of relay {relay} too early"
        return done.status == PortControlResponse.OK


@pytest.fixture
def directory() -> Iterator[Path]:
    """Short, because a socket's path is."""
    with tempfile.TemporaryDirectory(prefix="v4-") as name:
        yield Path(name)


@pytest.fixture
def disk(directory: Path) -> Iterator[SmallDisk]:
    """That of the state. To be asked for before `start`, so that it goes after what uses it."""
    with small_disk(directory / "state") as made:
        yield made


@pytest.fixture
def start(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Asked]]:
    monkeypatch.setattr(HostVfs, "require_pollable", lambda *_: None)
    made = Asked(directory, directory / "vio4wd.yaml")

    def begin(relays: tuple[int, ...], timing: Timing = NEVER_POLL) -> Asked:
        made.file.write_text(made.text(*relays))
        made.start(timing)
        wait_for("port control", made.endpoint.exists, 20.0)
        made.until_relays(*relays)
        return made

    with Served(made.engine, made.run_dir):
        yield begin
        made.stop()


def test_a_socket_where_no_frontend_may_have_one_is_refused_and_not_recorded(
    start: Callable[..., Asked],
) -> None:
    watch = start((1,))
    watch.file.write_text(watch.text(1, more="vhost_user: {dynamic_sockets: true}\n"))
    address = PortControlRequest.PciAddress(domain=0, bus=5, slot=2, function=1)

    def ask(path: str) -> PortControlResponse:
        op = PortControlRequest.ADD_SOCK
        request = PortControlRequest(op=op, pci_addrs=[address], conditional=False, vhost_path=path)
        with Service(f"ipc://{watch.endpoint}") as service:
            return service.ask(request, PortControlResponse())

    wait_for("dynamic sockets", lambda: "dynamic" not in ask("/etc/v4.sock").error_code_source, 20.0)
    refused = ask("/etc/v4.sock")
    assert refused.status == PortControlResponse.ERROR
    assert "/etc/v4.sock must lie below /tmp, /run, /var/run" in refused.error_code_source
    assert set(watch.engine.state.relays) == {1}
    assert ask(f"{watch.directory}/v4.sock").status == PortControlResponse.OK


def test_ok_means_in_force_when_another_reading_was_faster(
    start: Callable[..., Asked], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop reads between the record of a request and the word that there is one, and can't apply yet."""
    record = PortControlBackend.put

    def slow(self: PortControlBackend, relay: int, wanted: Mapping[str, Any]) -> None:
        record(self, relay, wanted)
        time.sleep(0.1)

    monkeypatch.setattr(PortControlBackend, "put", slow)
    made = start((1,), Timing(poll_s=0.02))
    with ThreadPoolExecutor(1) as pool, locked(made.run_dir / APPLY, 5.0):
        answer = pool.submit(made.asked, ADD, 2)
        time.sleep(0.6)
    assert answer.result(), "in force once the other has done"


@pytest.mark.parametrize("text", ["", "relays: [", "apiVersion: vio4wd/v1\nrelays: [{id: 99}]\n", None])
def test_a_broken_file_is_no_reason_to_keep_anybody_waiting(start: Callable[..., Asked], text: str | None) -> None:
    made = start((1,))
    assert made.asked(ADD, 2)
    if text is None:
        made.file.unlink()
    else:
        made.file.write_text(text)
    made.until_refused()
    assert made.asked(ADD, 3)
    assert made.asked(REMOVE, 2)
    assert set(made.engine.state.relays) == {1, 3}
    assert made.ask(ADD, 4, slot=3).status == PortControlResponse.ERROR, "relay 3 has it"
    made.file.write_text(made.text(1, 5))
    made.until_relays(1, 3, 5)
    assert "relay:1" not in made.removed


def test_a_file_that_somebody_is_writing_keeps_nobody_waiting(start: Callable[..., Asked]) -> None:
    made = start((1,))
    with made.file.open("a") as file:
        stop = threading.Event()

        def write() -> None:
            while not stop.wait(0.001):
                file.write("#")
                file.flush()

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for relay in (2, 3, 4):
                assert made.asked(ADD, relay)
        finally:
            stop.set()
            writer.join()
    assert set(made.engine.state.relays) == {1, 2, 3, 4}


def half_written(made: Asked, more: Callable[[], None]) -> None:
    """Half of it is a valid file with fewer relays; meanwhile `more` happens."""
    whole = made.text(1, 2, 3)
    half = whole.index("  - {id: 2")
    with made.file.open("w") as file:
        file.write(whole[:half])
        file.flush()
        time.sleep(0.1)
        more()
        time.sleep(0.3)
        file.write(whole[half:])


def test_what_a_frontend_asks_for_is_no_reason_to_believe_half_a_file(start: Callable[..., Asked]) -> None:
    made = start((1, 2))
    half_written(made, lambda: assert_ok(made.ask(ADD, 4)))
    made.until_relays(1, 2, 3, 4)
    assert made.removed == []


def assert_ok(answer: PortControlResponse) -> None:
    assert answer.status == PortControlResponse.OK, answer


@pytest.mark.parametrize("what", ["sync", "pause"])
def test_nor_is_what_a_command_asks_for(start: Callable[..., Asked], what: str) -> None:
    made = start((1, 2))
    path = sync_file(made.run_dir) if what == "sync" else pause_file(made.directory / "state")

    def ask() -> None:
        path.touch()
        path.unlink()

    half_written(made, ask)
    made.until_relays(1, 2, 3)
    assert made.removed == []


def rolled_back(made: Asked, *arguments: str) -> None:
    """As `vio4wd rollback --yes`."""
    own = {"VIO4WD_RUN_DIR": str(made.run_dir), "VIO4WD_STATE_DIR": str(made.directory / "state")}
    command = [sys.executable, "-m", "reconciler", "rollback", *arguments, "--yes"]
    done = subprocess.run(command, env={**os.environ, **own}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_rollback_touches_only_the_files_relays(start: Callable[..., Asked]) -> None:
    made = start((1,))
    assert made.asked(ADD, 5)
    made.file.write_text(made.text(1, 2))
    made.until_relays(1, 2, 5)
    assert made.asked(REMOVE, 5)
    assert made.asked(ADD, 6)
    rolled_back(made)
    assert set(made.engine.state.relays) == {1, 6}, "relay 5 was taken back by its owner, and stays away"
    assert "relay:6" not in made.removed


def test_frontends_are_served_beside_a_rollback(start: Callable[..., Asked]) -> None:
    made = start((1, 2))
    made.file.write_text(made.text(1))
    made.until_relays(1)
    assert made.asked(ADD, 6)
    rolled_back(made)
    made.until_relays(1, 2, 6)
    assert made.asked(ADD, 7)
    assert made.asked(REMOVE, 6)
    refused = made.ask(ADD, 2)
    assert refused.status == PortControlResponse.ERROR
    assert "what is kept up in place of the spec has its id, VF or socket" in refused.error_code_source
    assert set(made.engine.state.relays) == {1, 2, 7}
    assert made.asked(REMOVE, 7)
    made.file.write_text(made.text(1, 3))
    made.until_relays(1, 3)


def test_what_was_asked_for_while_an_apply_waited_is_had_once_it_is_undone(
    start: Callable[..., Asked],
) -> None:
    made = start((1,))
    assert made.asked(ADD, 5)
    made.file.write_text(made.text(1, 2))
    made.until_relays(1, 2, 5)
    own = {"VIO4WD_RUN_DIR": str(made.run_dir), "VIO4WD_STATE_DIR": str(made.directory / "state")}
    draft = made.directory / "draft.yaml"
    draft.write_text(made.text(1, 2, 3).replace("worker_cpus: [1, 2]", "worker_cpus: [0]").replace("cpus: [1]", ""))
    command = [sys.executable, "-m", "reconciler", "apply", "--confirm", "3s", str(draft)]
    with subprocess.Popen(command, env={**os.environ, **own}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as it:
        made.until("the draft", lambda: 3 in made.engine.state.relays)
        for op, relay in ((ADD, 6), (REMOVE, 5)):
            assert made.ask(op, relay).status == PortControlResponse.OK, "recorded"
        it.wait(60)
    made.until_relays(1, 2, 6)


def test_vfs_to_bind_that_are_not_there_yet_keep_nothing_up(
    start: Callable[..., Asked], monkeypatch: pytest.MonkeyPatch
) -> None:
    bound: list[str] = []
    monkeypatch.setattr(HostVfs, "bind", lambda _, address: bound.append(address))
    made = start((1,), Timing(poll_s=0.1))
    made.file.write_text(made.text(1, 2, more="bind_vfs: [ens9, ens8:2]\n"))
    made.until_relays(1, 2)
    assert made.asked(ADD, 3)
    lacking = "bind_vfs: ens9: this host has no VFs of 'ens9'; they are bound when they appear"
    made.until("the fault", lambda: lacking in made.report.get("faults", []))
    made.host.vfs["ens8"] = ("0000:08:00.1",)
    made.until("the first VF", lambda: bound == ["0000:08:00.1"] * len(bound) != [])
    made.until("what is still lacking", lambda: any("ens8 has 1 VFs" in each for each in made.report["faults"]))
    made.host.vfs["ens9"] = ("0000:09:00.1",)
    made.until("the second VF", lambda: "0000:09:00.1" in bound)
    made.until("an end of that fault", lambda: lacking not in made.report["faults"])


@pytest.mark.needs("root")
def test_what_can_not_be_kept_is_refused_and_nothing_of_it_comes_later(
    disk: SmallDisk, start: Callable[..., Asked]
) -> None:
    made = start((1,))
    assert made.asked(ADD, 2)
    disk.fill()
    refused = made.ask(ADD, 3)
    assert (refused.status, "can't be used" in refused.error_code_source) == (PortControlResponse.ERROR, True)
    assert made.ask(REMOVE, 2).status == PortControlResponse.ERROR
    disk.empty()
    made.until("the disk again", lambda: made.ask(ADD, 4).status == PortControlResponse.OK)
    made.until_relays(1, 2, 4)
