"""A guest with several queues: each flow keeps to one of them, and its order."""

from __future__ import annotations

import os
import re
import socket
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import partial

import pytest

from tests.kit.guests.guest import TestpmdGuest, wait_for_socket
from tests.kit.guests.vhost_peer import RING_BYTES, USED, Peer
from tests.kit.network.netns import VethWire
from tests.kit.topology import GUEST_CPUS, Topology, topology
from tests.kit.waiting import wait_for

FLOWS, QUEUES = 24, 4
BATCHES, BATCH = 60, 48
FRAME = struct.Struct("!6s6sHBBHHHBBH4s4sHHHHI")
PORT = 7000


def numbered(flow: int, number: int) -> bytes:
    """An IPv4/UDP frame of a flow, told by its source port."""
    size = FRAME.size - 14
    header = (0x45, 0, size, 0, 0, 64, 17, 0, bytes((10, 77, 9, 1)), bytes((10, 77, 9, 2)))
    frame = FRAME.pack(b"\2\0\0\0\0\1", b"\2\0\0\0\0\2", 0x0800, *header, PORT + flow, 9, size - 20, 0, number)
    return frame.ljust(64, b"\0")


def flow_and_number(frame: bytes) -> tuple[int, int] | None:
    """What `numbered` put in, of a frame of ours."""
    if len(frame) < FRAME.size:
        return None
    fields = FRAME.unpack_from(frame)
    return (fields[13] - PORT, fields[17]) if fields[12] == bytes((10, 77, 9, 2)) else None


@pytest.fixture(scope="module")
def relayed() -> Iterator[Topology]:
    with topology() as made:
        yield made


def back_again(seen: Mapping[int, list[int]], least: int) -> bool:
    return sum(map(len, seen.values())) >= least


def send_and_collect(made: Topology, wire: VethWire) -> dict[int, list[int]]:
    """Sends all flows in turns and gives, for each, the numbers in the order in which they came back."""
    seen: defaultdict[int, list[int]] = defaultdict(list)
    done = threading.Event()
    with made.namespace.packet_socket(wire.inner, 0x0800) as out, made.namespace.packet_socket(wire.inner, 3) as back:
        back.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
        back.settimeout(0.1)

        def collect() -> None:
            while not done.is_set():
                try:
                    frame, address = back.recvfrom(2048)
                except TimeoutError:
                    continue
                found = flow_and_number(frame)
                if found and address[2] != socket.PACKET_OUTGOING:
                    seen[found[0]].append(found[1])

        collector = threading.Thread(target=collect, daemon=True)
        collector.start()
        sent = 0
        for batch in range(BATCHES):
            for index in range(BATCH):
                out.send(numbered(index % FLOWS, batch * (BATCH // FLOWS) + index // FLOWS))
            sent += BATCH
            # What is on its way stays below what a virtqueue holds: a busy host delays frames and loses none.
            due = partial(back_again, seen, sent - 2 * BATCH)
            wait_for("frames to come back", due, 60.0)
        wait_for("the last frames", partial(back_again, seen, sent), 60.0)
        time.sleep(0.1)  # for duplicates, should there be any
        done.set()
        collector.join()
    return seen


def test_flows_spread_over_the_guests_queues_and_keep_their_order(relayed: Topology) -> None:
    path = relayed.instance.socket(1)
    wait_for_socket(path)
    with TestpmdGuest([path], "io", GUEST_CPUS, queues=QUEUES) as guest:
        guest.start()
        wait_for("all queues to be enabled", lambda: relayed.live_socket(1).queues == QUEUES)
        seen = send_and_collect(relayed, relayed.wires[1])
        received = re.findall(r"rx_q(\d)_good_packets: (\d+)|rx_q(\d)_packets: (\d+)", guest.tell("show port xstats 0"))
    wanted = list(range(BATCHES * BATCH // FLOWS))
    assert dict(seen) == dict.fromkeys(range(FLOWS), wanted)
    by_queue = {int(a or c): int(b or d) for a, b, c, d in received}
    assert len([count for count in by_queue.values() if count > 0]) == QUEUES, by_queue
    print(f"frames by queue: {by_queue}")


def test_no_ring_of_a_guest_wants_to_be_kicked(relayed: Topology) -> None:
    """VRING_USED_F_NO_NOTIFY, the first bit of a used ring's flags: in the rings that the guest receives from too."""
    path = relayed.instance.socket(1)
    wait_for_socket(path)
    with Peer(path) as peer:
        memory = peer.start(pairs=QUEUES)
        for ring in range(2 * QUEUES):
            flags = partial(os.pread, memory, 2, ring * RING_BYTES + USED)
            wait_for(f"ring {ring} not to want it", lambda flags=flags: flags() == b"\1\0")  # type: ignore[misc]
