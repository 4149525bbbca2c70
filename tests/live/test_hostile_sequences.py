"""Peers on two sockets at once whose conversations begin well and go wrong, beside a guest that must not notice.

`VIO4WD_TEST_SEED` repeats a run, `VIO4WD_TEST_FROM` takes it up again at a conversation; both are printed. With
VIO4WD_TEST_LONG=1 it runs for 30 minutes.
"""

from __future__ import annotations

import itertools
import os
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.kit.guests.vhost_peer import Peer
from tests.kit.guests.vhost_sequences import Sequences
from tests.kit.runner.repetitions import LONG, times
from tests.kit.topology import Topology, descriptors, topology
from tests.kit.waiting import wait_for
from tests.live.neighbour import NEIGHBOUR, neighbour
from tests.live.open_files import Opened

LIARS = (1, 3)
ROUND = times(40, 400)
"""Conversations on each socket between two looks at the engine."""
LAST_S = 1800.0
OFFERS = {"csum": True, "tso": True, "mrgbuf": True}
"""All that can be, and packed rings to those who lie."""
GROWTH_KIB = 16_384
MAPPINGS = 64


@pytest.fixture
def made() -> Iterator[Topology]:
    with topology((1, NEIGHBOUR, 3), run=False, vhost_user=OFFERS) as scene_:
        for relay in LIARS:
            scene_.lines[relay] = replace(scene_.lines[relay], packed=True)
        scene_.save()
        scene_.instance.run()
        scene_.boot(NEIGHBOUR, "io")
        yield scene_


def resident_kib(pid: int) -> int:
    """Of memory that is the process's own, and that it has written: pages of libraries are only its own while no other
    process has them too."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty:"))


def mappings(pid: int) -> int:
    return len(Path(f"/proc/{pid}/maps").read_text().splitlines())


def footprint(pid: int) -> tuple[int, int, int]:
    """Descriptors, mappings, and memory in KiB."""
    return len(descriptors(pid)), mappings(pid), resident_kib(pid)


def converse(sequences: Sequences, path: Path, numbers: range, faults: list[str]) -> None:
    for number in numbers:
        try:
            sequences.converse(path, number)
        except OSError as error:  # the test tells of it; the thread's end would hide it
            faults.append(f"conversation {number} on {path.name}: {error!r}")
            return


def round_of(made: Topology, sequences: Sequences, first: int) -> None:
    """Conversations on both sockets at once, even numbers on one and odd ones on the other."""
    faults: list[str] = []
    threads = [
        threading.Thread(
            target=converse,
            args=(sequences, made.instance.socket(relay), range(first + lane, first + 2 * ROUND, 2), faults),
        )
        for lane, relay in enumerate(LIARS)
    ]
    with neighbour(made), made.storm(LIARS[0]), made.storm(LIARS[1]):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert faults == []


def check_honest(made: Topology, relay: int) -> None:
    wait_for("the socket to be free", lambda: not made.live_socket(relay).guest)
    before = made.live_socket(relay).connects
    with Peer(made.instance.socket(relay)) as peer:
        peer.start()
        wait_for("the guest to be connected", lambda: made.live_socket(relay).connects > before)
    wait_for("the guest to be gone", lambda: not made.live_socket(relay).guest)


@pytest.mark.timeout(3600 if LONG else 300)
def test_sequences(made: Topology) -> None:
    seed = int(os.environ.get("VIO4WD_TEST_SEED", secrets.randbits(32)))
    start = int(os.environ.get("VIO4WD_TEST_FROM", "0"))
    print(f"VIO4WD_TEST_SEED={seed} VIO4WD_TEST_FROM={start}")
    sequences, pid, boot_id = Sequences(seed), made.instance.engine_pid, made.instance.client.hello().boot_id
    for relay in LIARS:
        check_honest(made, relay)
    opened = Opened(pid)
    early, until = footprint(pid), time.monotonic() + (LAST_S if LONG else 0)
    for first in itertools.count(start, 2 * ROUND):
        print(f"from conversation {first}: {footprint(pid)} descriptors, mappings, KiB", flush=True)
        round_of(made, sequences, first)
        for relay in LIARS:
            check_honest(made, relay)
        opened.check_given_back()
        assert mappings(pid) < early[1] + MAPPINGS
        assert resident_kib(pid) < early[2] + GROWTH_KIB
        assert made.instance.client.hello().boot_id == boot_id
        if time.monotonic() >= until:
            break
    tally = sequences.tally
    print(f"{tally.conversations} conversations, {tally.messages} messages, {tally.cut_off} were cut off")
    print(f"before {early}, after {footprint(pid)}; steps: {dict(tally.steps)}")
