"""A real guest with its features as they are by default: packets, TCP, and whoever is killed.

The guest that one test leaves serves the next; each test begins with one that answers.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from tests.qemu.qemu_topology import QemuTopology, qemu_topology, told

CSUM, MRG_RXBUF = 1 << 0, 1 << 15
"""Feature bits of linux/virtio_net.h."""


@pytest.fixture(scope="module", params=["server", "client"])
def staged(request: pytest.FixtureRequest) -> Iterator[QemuTopology]:
    """In the mode of vio4wd's end. In client mode nothing lies at the socket's path before QEMU starts; there guests
    are offered what they ask for by default too, so that the relay finishes the checksums that they leave open."""
    client = request.param == "client"
    with qemu_topology(client, csum=client, mrgbuf=client) as found:
        yield found


@pytest.fixture
def at(staged: QemuTopology) -> QemuTopology:
    """With a guest that answers: the one before, else a new one."""
    if staged.guest is None:
        staged.boot(talks=True)
    staged.wait_answer()
    return staged


@pytest.fixture
def talking(at: QemuTopology) -> QemuTopology:
    """With a guest in which an iperf3 listens."""
    if not at.talks:
        at.boot(talks=True)
    return at


def test_every_ping_is_answered(at: QemuTopology) -> None:
    report = at.answers(50)
    assert (report.received, report.duplicates) == (50, 0)


def test_tcp_flows_both_ways_with_the_guest_s_default_features(talking: QemuTopology) -> None:
    offered = talking.serves
    assert [bool(talking.features & bit) for bit in (CSUM, MRG_RXBUF)] == [offered, offered]
    wrong = talking.wrong_checksums()
    assert talking.tcp() > 0
    assert talking.tcp("-R") > 0
    assert talking.wrong_checksums() == wrong


def test_the_engine_is_killed_and_the_guest_s_traffic_is_back(talking: QemuTopology) -> None:
    at = talking
    assert at.guest is not None
    features, qemu = at.live().features, at.guest.pid
    killed = time.monotonic()
    at.kill_engine()
    at.wait_answer()
    told("the engine was killed: the guest answers after", killed)
    assert at.answers().received == 20
    assert at.live().features == features
    assert (at.guest.pid, at.guest.boots) == (qemu, 1)
    assert at.tcp() > 0


def test_qemu_is_killed_and_a_new_guest_is_served_at_once(at: QemuTopology) -> None:
    assert at.guest is not None
    before, session = at.live(), at.made.session(1)
    at.guest.kill()
    at.boot()
    assert at.answers().received == 20
    after = at.made.session(1)
    assert after.boot_id == session.boot_id
    assert after.connects > session.connects
    assert at.live().features == before.features


def test_both_are_killed_and_come_back_in_either_order(at: QemuTopology) -> None:
    assert at.guest is not None
    features, session = at.live().features, at.made.session(1)
    os.kill(at.made.instance.engine_pid, signal.SIGKILL)
    at.guest.kill()
    at.boot()
    at.wait_other_engine(session.boot_id)
    at.wait_answer()
    assert at.answers().received == 20
    assert at.live().features == features
