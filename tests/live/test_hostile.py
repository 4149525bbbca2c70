"""Peers on a socket that lie. They are cut off; the engine lives on, leaks nothing, and the neighbour loses no packet.

`VIO4WD_TEST_SEED` repeats a run of the fuzzer; what it was is printed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kit.guests import vhost_peer as vhost
from tests.kit.guests.vhost_fuzzer import Fuzzer
from tests.kit.guests.vhost_peer import MEMORY_BYTES, NEED_REPLY, USER_ADDRESS, VERSION, Peer, PeerGone
from tests.kit.guests.vhost_sender import Sender
from tests.kit.runner.repetitions import times
from tests.kit.topology import Topology, descriptors, topology
from tests.kit.waiting import wait_for
from tests.live.neighbour import neighbour
from tests.live.open_files import Opened

CONVERSATIONS = times(150, 10_000)
GROWTH_KIB = 4096
PAGES_MAPPED = 64
MOST_LOG_BYTES = 20_000
Lie = Callable[[Peer], None]


@pytest.fixture(scope="module")
def made() -> Iterator[Topology]:
    """Relay 1, whose socket is lied to, relay 2, whose guest sends back what it gets, and relay 3 without a guest."""
    with topology((1, 2, 3)) as scene_:
        scene_.boot(2, "io")
        yield scene_


def half_a_message(peer: Peer) -> None:
    peer.raw(struct.pack("<III", vhost.SET_FEATURES, VERSION, 8))


def ring_without_size(peer: Peer) -> None:
    peer.introduce()
    peer.send(vhost.SET_MEM_TABLE, vhost.WHOLE_MEMORY, [peer.memory()])
    peer.send(vhost.SET_VRING_ADDR, vhost.ring_address(1))
    peer.send(vhost.SET_VRING_KICK, vhost.u64(1), [peer.event()])


def stopped_ring_without_a_new_size(peer: Peer) -> None:
    peer.start()
    peer.ask(vhost.GET_VRING_BASE, vhost.state(1, 0))
    peer.send(vhost.SET_VRING_ADDR, vhost.ring_address(1))
    peer.send(vhost.SET_VRING_KICK, vhost.u64(1), [peer.event()])


def larger_ring_under_its_addresses(peer: Peer) -> None:
    peer.start()
    peer.send(vhost.SET_VRING_NUM, vhost.state(1, 32_768), flags=VERSION | NEED_REPLY)


def no_power_of_two(peer: Peer) -> None:
    peer.introduce()
    peer.send(vhost.SET_VRING_NUM, vhost.state(1, 24_575), flags=VERSION | NEED_REPLY)


def ring_beyond_the_last(peer: Peer) -> None:
    peer.introduce()
    peer.send(vhost.SET_VRING_NUM, vhost.state(64, vhost.RING_SIZE))


def memory_that_cannot_be_mapped(peer: Peer) -> None:
    """After the old memory is gone; rte_vhost alone would have left its workers with dangling rings."""
    peer.start()
    table = vhost.memory_table(vhost.region(0, MEMORY_BYTES, USER_ADDRESS + 4096, 0))
    peer.send(vhost.SET_MEM_TABLE, table, [peer.event()], VERSION | NEED_REPLY)


def memory_beyond_its_file(peer: Peer) -> None:
    peer.introduce()
    peer.send(vhost.SET_MEM_TABLE, vhost.WHOLE_MEMORY, [peer.memory(MEMORY_BYTES // 2)])


def memory_that_fits_in_parts_alone(peer: Peer) -> None:
    """Two regions of half of what a process can map each; rte_vhost would find out with the old ones gone."""
    peer.start()
    half = 1 << 46
    table = vhost.memory_table(*(vhost.region(i << 47, half, USER_ADDRESS + (i << 47), 0) for i in range(2)))
    peer.send(vhost.SET_MEM_TABLE, table, [peer.memory(half), peer.memory(half)], VERSION | NEED_REPLY)


def regions_that_overlap(peer: Peer) -> None:
    peer.start()
    table = vhost.memory_table(*(vhost.region(i * 4096, MEMORY_BYTES, USER_ADDRESS, 0) for i in range(2)))
    peer.send(vhost.SET_MEM_TABLE, table, [peer.memory(), peer.memory()])


def notification_of_a_file(peer: Peer) -> None:
    peer.start()
    peer.send(vhost.SET_VRING_CALL, vhost.u64(1), [peer.memory()])


def dirty_log_at_an_offset(peer: Peer) -> None:
    peer.start()
    log = peer.memory()
    vhost.seal(log)
    peer.send(vhost.SET_LOG_BASE, struct.pack("<QQ", 4096, 4096), [log])


def dirty_log_that_may_shrink(peer: Peer) -> None:
    """Page by page of it would become a mapping of its own."""
    peer.start()
    peer.send(vhost.SET_LOG_BASE, struct.pack("<QQ", 4096, 0), [peer.memory()])


def regions_in_flight_beyond_their_memory(peer: Peer) -> None:
    peer.introduce()
    peer.send(vhost.SET_INFLIGHT_FD, struct.pack("<QQHHI", 4096, 0, 2, 65_535, 0), [peer.memory()])


def postcopy(peer: Peer) -> None:
    peer.introduce()
    peer.send(vhost.POSTCOPY_ADVISE)


def other_ring_format_under_way(peer: Peer) -> None:
    peer.introduce()
    peer.send(vhost.SET_VRING_NUM, vhost.state(0, vhost.RING_SIZE))
    peer.send(vhost.SET_FEATURES, vhost.u64(vhost.PROTOCOL_FEATURES | vhost.VERSION_1 | 1 << 29))


def ring_that_ends_beyond_its_memory(peer: Peer) -> None:
    """rte_vhost keeps the address of the part that does not fit, and writes there when the ring is enabled."""
    peer.start()
    peer.send(vhost.SET_VRING_ENABLE, vhost.state(1, 0))
    peer.send(vhost.SET_VRING_ADDR, vhost.ring_address_ending_at(1, MEMORY_BYTES))
    with contextlib.suppress(PeerGone):  # by now
        peer.send(vhost.SET_VRING_ENABLE, vhost.state(1, 1))


def ring_that_new_memory_cuts_off(peer: Peer) -> None:
    peer.start()
    peer.send(vhost.SET_VRING_ADDR, vhost.ring_address_ending_at(1, MEMORY_BYTES // 2))
    half = vhost.memory_table(vhost.region(0, MEMORY_BYTES // 2, USER_ADDRESS, 0))
    peer.send(vhost.SET_VRING_ENABLE, vhost.state(1, 0))
    peer.send(vhost.SET_MEM_TABLE, half, [peer.memory(MEMORY_BYTES // 2)])
    with contextlib.suppress(PeerGone):  # by now
        peer.send(vhost.SET_VRING_ENABLE, vhost.state(1, 1))


LIES: tuple[Lie, ...] = (
    half_a_message,
    ring_without_size,
    stopped_ring_without_a_new_size,
    larger_ring_under_its_addresses,
    no_power_of_two,
    ring_beyond_the_last,
    memory_that_cannot_be_mapped,
    memory_beyond_its_file,
    memory_that_fits_in_parts_alone,
    regions_that_overlap,
    notification_of_a_file,
    dirty_log_that_may_shrink,
    dirty_log_at_an_offset,
    regions_in_flight_beyond_their_memory,
    postcopy,
    other_ring_format_under_way,
    ring_that_ends_beyond_its_memory,
    ring_that_new_memory_cuts_off,
)


def check_honest(made: Topology) -> None:
    """A peer that behaves is served, right after one that did not."""
    wait_for("the socket to be free", lambda: not made.live_socket(1).guest)
    before = made.live_socket(1).connects
    with Peer(made.instance.socket(1)) as peer:
        peer.start()
        wait_for("the guest to be connected", lambda: made.live_socket(1).connects > before)
    wait_for("the guest to be gone", lambda: not made.live_socket(1).guest)


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_a_lie_costs_only_the_liar(lie: Lie, made: Topology) -> None:
    with neighbour(made):
        opened = Opened(made.instance.engine_pid)
        for _ in range(times(2, 10)):
            with Peer(made.instance.socket(1)) as peer:
                lie(peer)
                assert peer.gone()
        check_honest(made)
    opened.check_given_back()


def test_a_ring_comes_before_its_memory(made: Topology) -> None:
    pid = made.instance.engine_pid
    with Peer(made.instance.socket(1)) as peer, contextlib.suppress(PeerGone):
        peer.introduce()
        peer.send(vhost.SET_VRING_NUM, vhost.state(0, vhost.RING_SIZE))
        peer.send(vhost.SET_VRING_ADDR, vhost.ring_address(0))
        peer.send(vhost.SET_VRING_KICK, vhost.u64(0), [peer.event()])
        peer.sync()
    check_honest(made)
    assert made.instance.engine_pid == pid


def test_answers_that_nobody_reads_hold_nobody_up(made: Topology) -> None:
    """All sockets share the thread that answers."""
    with neighbour(made), Peer(made.instance.socket(1)) as peer:
        for _ in range(20_000):
            peer.send(vhost.GET_FEATURES)
        with Peer(made.instance.socket(3)) as other:
            other.start()
    check_honest(made)


def test_a_second_connection_does_not_disturb_the_first(made: Topology) -> None:
    with Peer(made.instance.socket(1)) as first:
        first.start()
        wait_for("the guest to be connected", lambda: made.live_socket(1).guest)
        session, live = made.session(1), made.live_socket(1)
        for _ in range(10):
            with Peer(made.instance.socket(1)) as second:
                assert second.gone()
        first.sync()
        assert (made.session(1), made.live_socket(1)) == (session, live)
    check_honest(made)


def mappings(pid: int) -> int:
    with open(f"/proc/{pid}/maps") as file:
        return sum(1 for _ in file)


def test_who_makes_his_memory_shorter_is_cut_off(made: Topology) -> None:
    """Also when each missing page would be found one by one, since each would be a mapping of its own."""
    pid = made.instance.engine_pid
    with neighbour(made):
        for _ in range(times(2, 10)):
            with made.storm(1), Peer(made.instance.socket(1)) as peer:
                os.ftruncate(peer.start(), 0)
                assert peer.gone()
            check_honest(made)
        assert "its memory is shorter than it said" in made.instance.log
        before = mappings(pid)
        for _ in range(times(2, 10)):
            with Peer(made.instance.socket(1)) as peer:
                sender = Sender(peer, region_bytes=1 << 30)
                sender.shrink()
                assert sender.send_from_every_other_page()
        assert mappings(pid) < before + PAGES_MAPPED


def forgotten(path: Path) -> bool:
    """Send what rte_vhost fails with before anybody else sees it, eight descriptors along: whether it was let in."""
    with Peer(path) as peer:
        event = peer.event()
        try:
            peer.sync()
            peer.send(vhost.SET_VRING_NUM, vhost.state(300, vhost.RING_SIZE), [event] * 8)
        except vhost.PeerGone:
            return False
        assert peer.gone()
        return True


def test_who_costs_descriptors_is_shut_out(made: Topology) -> None:
    """DPDK loses them; so few are lost that no limit is near, and nobody else waits."""
    pid, path = made.instance.engine_pid, made.instance.socket(3)
    before = len(descriptors(pid))
    logged = len(made.instance.log)
    with neighbour(made):
        admit = sum(forgotten(path) for _ in range(100))
        assert 8 <= admit <= 9
        assert len(descriptors(pid)) - before <= 8 * admit
        check_honest(made)
        status = made.wait_condition(3, "Degraded")
        assert "nobody is let in for another" in status["message"]
        assert len(made.instance.log) - logged < MOST_LOG_BYTES
        wait_for("the socket to be open again", lambda: made.live_socket(3).shut is None, 60.0)
        with Peer(path) as peer:
            peer.start()


def resident_kib(pid: int) -> int:
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Rss:"))


def test_fuzzed_conversations(made: Topology) -> None:
    seed = int(os.environ.get("VIO4WD_TEST_SEED", secrets.randbits(32)))
    print(f"VIO4WD_TEST_SEED={seed}")
    fuzzer, pid, path = Fuzzer(seed), made.instance.engine_pid, made.instance.socket(1)
    with neighbour(made), made.storm(1):
        for _ in range(min(50, CONVERSATIONS)):
            fuzzer.converse(path)
        check_honest(made)
        opened, before_kib = Opened(pid), resident_kib(pid)
        for _ in range(CONVERSATIONS):
            fuzzer.converse(path)
        check_honest(made)
        opened.check_given_back()
        assert resident_kib(pid) - before_kib < GROWTH_KIB
    print(f"{fuzzer.messages} messages")
    made.boot(1)
    made.wait_ping(1)
    made.guests.pop(1).quit()
