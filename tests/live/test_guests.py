"""Guests that die without a word, in the middle of traffic."""

from __future__ import annotations

from tests.kit.runner.repetitions import times
from tests.kit.topology import shrunken, topology, unaccounted, wait_frames
from tests.kit.waiting import wait_for

KILLS = times(5, 50)


def test_killed_guests_cost_only_their_own_relay() -> None:
    """SIGKILL while frames go both ways; the next guest connects and its frames flow, the neighbour loses none."""
    with topology((1, 2)) as made:
        made.boot(2, "io")
        before, session = made.counters(2), made.session(2)
        with made.flow(2) as neighbour:
            for _ in range(KILLS):
                guest = made.boot(1, "io")
                with made.storm(1) as storm:
                    wait_frames(storm)
                    guest.kill()
                    wait_for("the guest to be gone", lambda: not made.live_socket(1).guest)
            made.boot(1, "io")
            with made.flow(1) as flow:
                wait_frames(flow)
                assert flow.finish().clean
            report = neighbour.finish()
        assert report.clean, report
        assert made.session(2) == session
        assert not shrunken(before, made.counters(2))
        assert made.live_socket(1).connects == KILLS + 1
        made.instance.check_running()
        for counted in (made.counters(1), made.counters(2)):
            assert counted["port"]["rx_nombuf"] == 0
            assert [unaccounted(counted[way]) for way in ("vf_to_vm", "vm_to_vf")] == [0, 0]


def test_a_guest_that_floods_is_killed() -> None:
    """A guest that sends as fast as it can dies; what it had sent is counted, and its successor finds all in order."""
    with topology((1, 2)) as made:
        made.boot(2)
        for _ in range(times(2, 10)):
            guest = made.boot(1, "txonly")
            made.wait_more(1, "vm_to_vf", 10_000)
            guest.kill()
            wait_for("the guest to be gone", lambda: not made.live_socket(1).guest)
        assert made.ping(2).received == 10
        made.boot(1)
        assert made.ping(1).received == 10
        assert unaccounted(made.counters(1)["vm_to_vf"]) == 0
