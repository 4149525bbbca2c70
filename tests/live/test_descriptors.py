"""An engine that may have few descriptors: guests are turned away and told of, and nobody who is there notices."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.kit.guests.vhost_peer import Peer, PeerGone
from tests.kit.topology import Topology, descriptors, topology
from tests.kit.waiting import wait_for
from tests.live.neighbour import NEIGHBOUR, neighbour

FEW = 320
"""Half of them are kept for what is there; an engine with three relays has about a hundred open."""


@pytest.fixture(scope="module")
def made() -> Iterator[Topology]:
    with topology((1, NEIGHBOUR, 3), run=False) as scene_:
        scene_.instance.most_descriptors = FEW
        scene_.instance.run()
        scene_.boot(NEIGHBOUR, "io")
        yield scene_


def turned_away(made: Topology, relay: int) -> bool:
    with Peer(made.instance.socket(relay)) as peer:
        return peer.gone()


def test_the_last_ones_are_kept_for_those_that_are_there(made: Topology) -> None:
    pid, large = made.instance.engine_pid, 24
    before = len(descriptors(pid))
    with neighbour(made):
        with Peer(made.instance.socket(1)) as peer:
            peer.start(large)
            assert turned_away(made, 3)
            assert "few descriptors left" in made.wait_condition(3, "Degraded")["message"]
            peer.sync()
        wait_for("the descriptors of the large guest to be free", lambda: len(descriptors(pid)) <= before)
        with Peer(made.instance.socket(3)) as peer:
            peer.start()


def test_who_takes_them_all_is_cut_off(made: Topology) -> None:
    """Two are let in while there are enough, and take more than there are."""
    pid = made.instance.engine_pid
    before = len(descriptors(pid))
    with neighbour(made):
        with Peer(made.instance.socket(1)) as first, Peer(made.instance.socket(3)) as second:
            first.introduce()
            second.introduce()
            with contextlib.suppress(PeerGone):
                for index in range(64):
                    first.set_up(index)
                    second.set_up(index)
                first.sync()
                second.sync()
        wait_for("their descriptors to be free", lambda: len(descriptors(pid)) <= before)
        with Peer(made.instance.socket(1)) as peer:
            peer.start()
