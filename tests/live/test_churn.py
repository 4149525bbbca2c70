"""Relays, pins, VFs, sockets and guests change at random under traffic: nothing breaks, leaks or is miscounted.

`VIO4WD_TEST_SEED` repeats a run; what the seed was is printed.
"""

from __future__ import annotations

import os
import secrets
from typing import Any

import pytest

from tests.kit.runner.repetitions import times
from tests.kit.topology import CPUS, Topology, topology, unaccounted
from tests.kit.waiting import wait_for
from tests.live.churn import Churn
from tests.live.footprint import Footprint, footprint
from tests.live.neighbour import NEIGHBOUR, WAYS, neighbour

CHANGES = times(40, 1000)
ROUND = times(20, 50)
"""Changes between two looks at what is in use."""
MEMORY_KIB = 8192
HUGEPAGES_KIB = 8192
"""Less than one port's pool, 10 MiB: the heap falls to pieces a little, but no port leaves anything behind."""


def inconsistent(made: Topology) -> dict[str, Any]:
    """The relays of which more was received than sent or dropped, or less. What waits to be sent is neither."""
    relays = made.instance.client.counters()["relays"]
    lacking = {relay: [unaccounted(found[way]) for way in WAYS] for relay, found in relays.items()}
    return {relay: counts for relay, counts in lacking.items() if counts != [0, 0]}


def round_of(made: Topology, churn: Churn, changes: int) -> None:
    made.boot(NEIGHBOUR, "io")
    with neighbour(made):
        with churn.traffic():
            churn.change(changes)
        wait_for("all that was received to be sent or dropped", lambda: not inconsistent(made))
        churn.clear()
    made.guests.pop(NEIGHBOUR).quit()
    wait_for("no guest", lambda: not made.live_socket(NEIGHBOUR).guest)


def other_mode_and_back(made: Topology) -> None:
    for mode in ("client", "server"):
        made.keys["vhost_user"] = {"mode": mode}
        made.save()
        made.instance.wait_applied()


def check(made: Topology, early: Footprint) -> None:
    state, late = made.instance.client.observe().state, footprint(made.instance.engine_pid)
    print(f"in use: {late}")
    assert (len(state.relays), len(state.ports), len(state.sockets)) == (1, 1, 1)
    assert late.descriptors == early.descriptors
    assert late.memory_kib - early.memory_kib < MEMORY_KIB
    assert late.hugepages_kib - early.hugepages_kib < HUGEPAGES_KIB


@pytest.mark.skipif(len(CPUS) < 2, reason="needs two CPUs")
def test_churn() -> None:
    seed = int(os.environ.get("VIO4WD_TEST_SEED", secrets.randbits(32)))
    print(f"VIO4WD_TEST_SEED={seed}")
    with topology((1, NEIGHBOUR, 3, 4), worker_cpus=CPUS, allow_destroy=(1, 3, 4)) as made:
        boot_id, churn = made.instance.client.hello().boot_id, Churn(made, seed)
        churn.clear()
        round_of(made, churn, ROUND)
        early = footprint(made.instance.engine_pid)
        for _ in range(CHANGES // ROUND - 1):
            other_mode_and_back(made)
            round_of(made, churn, ROUND)
            check(made, early)
        print(dict(churn.done))
        assert made.instance.client.hello().boot_id == boot_id
        assert "cut off" not in made.instance.log  # nothing that an honest guest does is taken for a peer's lie
