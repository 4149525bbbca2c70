"""What breaks beside a relay, one fault after the other: it costs that relay only, is said in a sentence, and heals.

Numbered frames pass on the neighbour all the while (faults.py). Killed guests are in test_guests.py, peers that lie in
test_hostile.py, PCI functions that are pulled out in tests/sriov.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit import cleanup
from tests.kit.guests.guest import wait_for_socket
from tests.kit.guests.vhost_peer import GET_VRING_BASE, Peer, state
from tests.kit.network.netns import run
from tests.kit.runner.repetitions import times
from tests.kit.spec_file import RelayLine
from tests.kit.topology import CPUS, MAIN_CPU, WORKER_CPU, Topology, descriptors, topology
from tests.kit.waiting import wait_for
from tests.live.neighbour import neighbour
from tests.live.test_bonds import bond

ROUNDS = times(1, 10)
STOPPED_S = times(3, 10)


@pytest.fixture(scope="module")
def two() -> Iterator[Topology]:
    """Relay 1, to which it happens, and relay 2, whose guest sends back what it gets."""
    with topology((1, 2)) as made:
        made.boot(2, "io")
        yield made


@pytest.fixture
def guest(two: Topology) -> Iterator[Topology]:
    """The same with a guest on relay 1."""
    made = two.boot(1)
    two.wait_ping(1)
    yield two
    two.guests.pop(1, made).quit()
    wait_for("the guest to be gone", lambda: not two.live_socket(1).guest)


def test_a_driver_that_flaps(two: Topology) -> None:
    """What QEMU sends when a guest's driver is unbound and bound: all rings are stopped, and set up anew."""
    connects = two.live_socket(1).connects
    with neighbour(two), two.storm(1), Peer(two.instance.socket(1)) as peer:
        peer.start()
        for _ in range(100 * ROUNDS):
            for ring in (0, 1):
                peer.ask(GET_VRING_BASE, state(ring, 0))
            for ring in (0, 1):
                peer.set_up(ring)
        peer.sync()
    assert two.live_socket(1).connects == connects + 100 * ROUNDS + 1


def test_connections_that_come_and_go(two: Topology) -> None:
    """Some go before they have said a word, some in the middle, some with all rings running."""
    before = descriptors(two.instance.engine_pid)
    with neighbour(two), two.storm(1):
        for number in range(100 * ROUNDS):
            with Peer(two.instance.socket(1)) as peer:
                if number % 3 == 1:
                    peer.introduce()
                elif number % 3 == 2:
                    peer.start()
    wait_for("nobody to be connected", lambda: not two.live_socket(1).guest)
    wait_for("its descriptors back", lambda: len(descriptors(two.instance.engine_pid)) == len(before))


def test_an_interface_is_removed_under_the_engine_and_comes_back(guest: Topology) -> None:
    session = guest.session(1)
    with neighbour(guest):
        for _ in range(ROUNDS):
            run(["ip", "link", "del", guest.wires[1].vf])
            said = guest.wait_condition(1, "Degraded")["message"]
            assert "the VF is gone" in said or "cannot be attached" in said
            guest.stack.enter_context(guest.wires[1])
            guest.wait_condition(1, "Ready")
            guest.wait_ping(1)
    assert guest.session(1) == session


def test_an_interface_is_replaced_by_another_of_its_name(guest: Topology) -> None:
    """So fast that nobody sees it missing: only its number tells."""
    with neighbour(guest):
        for _ in range(ROUNDS):
            guest.wires[1].delete()
            guest.stack.enter_context(guest.wires[1])
            guest.wait_ping(1)


def test_an_interface_is_renamed_and_polled_on(guest: Topology) -> None:
    """With its link down, as kernels before 6.2 want it."""
    name, session = guest.wires[1].vf, guest.session(1)

    def rename(old: str, new: str) -> None:
        for words in (["down"], ["name", new]):
            run(["ip", "link", "set", old, *words])
        run(["ip", "link", "set", new, "up"])

    with neighbour(guest):
        rename(name, f"{name}x")
        try:
            said = guest.wait_condition(1, "Degraded")["message"]
            assert f"the network interface {name} is called {name}x now: it goes on being polled" in said
            guest.wait_ping(1)
        finally:
            rename(f"{name}x", name)
        guest.wait_condition(1, "Ready")
        guest.wait_ping(1)
    assert guest.session(1) == session


def test_an_interface_is_polled_once_by_whatever_name(two: Topology) -> None:
    other = f"{two.wires[1].vf}-by-another-name"
    run(["ip", "link", "property", "add", "dev", two.wires[1].vf, "altname", other[:15]])
    two.lines[9] = RelayLine(9, f"net_af_packet9,iface={other[:15]}")
    try:
        two.save()
        said = two.wait_condition(9, "Degraded")["message"]
        assert f"has the same network interface as {two.wires[1].vf_device}, which is polled already" in said
    finally:
        del two.lines[9]
        two.save()


@pytest.mark.skipif(len(CPUS) < 2, reason="needs two CPUs")
def test_a_worker_that_is_moved_is_brought_back(guest: Topology) -> None:
    """By taskset, as an operator or a script of a host does it with all threads of a process."""
    tasks = Path("/proc", str(guest.instance.engine_pid), "task")
    names = {int(task.name): (task / "comm").read_text().strip() for task in tasks.iterdir()}
    [worker] = [thread for thread, name in names.items() if name in ("lcore-worker-1", "rte-worker-1", "dpdk-worker1")]
    with neighbour(guest):
        for _ in range(ROUNDS):
            run(["taskset", "-cp", str(MAIN_CPU), str(worker)])
            wait_for("the worker to be back", lambda: os.sched_getaffinity(worker) == {WORKER_CPU})
            guest.wait_ping(1)
    moved = f"the worker of CPU {WORKER_CPU} had been moved to CPU {MAIN_CPU}: it is back"
    wait_for(moved, lambda: moved in (guest.instance.directory / "run.log").read_text())


def test_a_bonds_member_loses_its_link() -> None:
    with topology((1, 2, 3), run=False) as made:
        bond(made, 1, (1, 3), "active-backup")
        made.instance.run()
        made.boot(2, "io")
        made.boot(1)
        with neighbour(made):
            for _ in range(ROUNDS):
                made.wires[1].set_carrier(False)
                said = made.wait_condition(1, "Degraded")["message"]
                assert "is down; the bond goes on without" in said
                made.wires[1].set_carrier(True)
                made.wait_condition(1, "Ready")


def test_a_socket_is_removed(two: Topology) -> None:
    """Nobody is connected: it is made again."""
    path = two.instance.socket(1)
    with neighbour(two):
        for _ in range(ROUNDS):
            path.unlink()
            wait_for_socket(path)
            with Peer(path) as peer:
                peer.start()
            wait_for("nobody to be connected", lambda: not two.live_socket(1).guest)


def test_the_directory_of_the_sockets_is_removed(guest: Topology) -> None:
    """Who is connected stays; whoever comes next finds a socket."""
    path, session = guest.instance.socket(1), guest.session(1)
    with neighbour(guest):
        for _ in range(ROUNDS):
            shutil.rmtree(path.parent)
            assert f"{path} was removed" in guest.wait_condition(1, "Degraded")["message"]
            guest.wait_ping(1)
            assert guest.session(1) == session
            guest.guests.pop(1).quit()
            wait_for_socket(path)
            guest.boot(1)
            guest.wait_ping(1)
            session = guest.session(1)


def wait_said(made: Topology, words: str) -> None:
    """Wait until relay 1 is Degraded for this reason; for a moment it is only said that its socket was removed."""
    wait_for(words, lambda: words in made.wait_condition(1, "Degraded")["message"], 60.0, 0.2)


@contextlib.contextmanager
def read_only(directory: Path) -> Iterator[None]:
    """An empty file system that nothing can be written to lies over a directory."""
    run(["mount", "-t", "tmpfs", "-o", "ro", "none", str(directory)])

    def unmount() -> None:
        cleanup.release(directory)
        run(["umount", str(directory)])

    cleanup.register(directory, unmount)
    try:
        yield
    finally:
        unmount()


def test_the_directory_of_the_sockets_is_not_writable(two: Topology) -> None:
    path = two.instance.socket(1)
    with neighbour(two):
        for _ in range(ROUNDS):
            with read_only(path.parent):
                wait_said(two, f"{path.parent} cannot hold a socket: it is read-only")
            two.wait_condition(1, "Pending")
            two.boot(1)
            two.wait_ping(1)
            two.guests.pop(1).quit()


def test_a_file_lies_where_the_directory_of_the_sockets_was(two: Topology) -> None:
    directory, aside = two.instance.sockets, two.instance.sockets.with_name("aside")
    with neighbour(two):
        for _ in range(ROUNDS):
            directory.rename(aside)
            directory.write_text("somebody's file")
            wait_said(two, f"{directory} cannot hold a socket: it is no directory")
            assert directory.read_text() == "somebody's file"
            directory.unlink()
            aside.rename(directory)
            two.wait_condition(1, "Pending")


def test_the_engine_is_stopped_for_a_while(guest: Topology) -> None:
    """Nobody is polled meanwhile. What must not be lost is what the queues hold: no more frames are on their way than
    fit the ring of the neighbour's port (512), and they come back when it goes on. What is there afterwards is what
    was there before, by the same engine.
    """
    session, changes = guest.session(1), guest.changes()
    with neighbour(guest) as flow:
        for _ in range(ROUNDS):
            pid = guest.instance.engine_pid
            os.kill(pid, signal.SIGSTOP)
            try:
                time.sleep(STOPPED_S)
                stood = flow.received
                time.sleep(0.1)
                assert flow.received == stood
            finally:
                os.kill(pid, signal.SIGCONT)
            guest.wait_ping(1)
    guest.wait_condition(1, "Ready")
    assert guest.session(1) == session
    assert guest.changes() == changes
