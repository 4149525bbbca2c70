"""Relays are placed on CPUs evenly, and move only when they must."""

from __future__ import annotations

import pytest

from reconciler.planning.plan import plan
from reconciler.planning.shards import place
from schema.model import Pin, Relay, State
from tests.kit.relay_states import pairs


def test_placement_is_sticky_and_even() -> None:
    four = [Relay(i, f"p{i}", f"/{i}") for i in range(4)]
    wanted = pairs(*four)
    live = pairs(*four[:2], pins=(Pin(0, 2, 2), Pin(1, 2, 1)))
    assert place(wanted, live) == {0: Pin(0, 2, 2), 1: Pin(1, 2, 1), 2: Pin(2, 1, 1), 3: Pin(3, 1, 1)}


def test_placement_moves_only_what_lost_its_cpu() -> None:
    two = [Relay(i, f"p{i}", f"/{i}") for i in range(2)]
    live = pairs(*two, cpus=(1, 2, 3), pins=(Pin(0, 1, 3), Pin(1, 2, 2)))
    assert place(pairs(*two), live) == {0: Pin(0, 1, 1), 1: Pin(1, 2, 2)}


def test_placement_avoids_the_main_cpu_among_equals() -> None:
    assert place(pairs(Relay(0, "p", "/p"), cpus=(0, 1)), State()) == {0: Pin(0, 1, 1)}


def test_placement_without_workers_says_so() -> None:
    with pytest.raises(ValueError, match="worker_cpus"):
        place(pairs(Relay(0, "p", "/p"), cpus=()), State())


def test_plan_of_64_relays_in_pairs_that_swap() -> None:
    before = [Relay(i, f"p{i}", f"/{i}") for i in range(64)]
    after = [Relay(i, f"p{i ^ 1}", f"/{i}") for i in range(64)]
    live = pairs(*before, pins=tuple(Pin(i, 1, 1) for i in range(64)))
    actions = plan(pairs(*after), live).actions
    assert len(actions) == 64 + 32
