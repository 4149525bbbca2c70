"""What is said of those who are cut off on a socket, and when nobody is let in."""

from __future__ import annotations

from engine.burst.compiled import layout as at
from engine.dataplane.refusals import (
    FIRST_PAUSE_S,
    LINES,
    LINES_EVERY_S,
    LONGEST_PAUSE_S,
    LOST_AT_FIRST,
    LOST_LATER,
    Refusals,
)


def test_enough_is_said_of_each_kind_and_the_rest_is_counted() -> None:
    refusals = Refusals()
    for request in range(LINES):
        assert refusals.line(request, 1.0) is not None
    assert [refusals.line(request, 2.0) for request in range(40)] == [None] * 40
    assert refusals.line(at.MEMORY_SHORT, 2.0) is not None
    again = refusals.line(5, 1.0 + LINES_EVERY_S)
    assert again is not None
    assert "(40 more were not logged)" in again


def test_each_pause_is_twice_the_one_before_up_to_a_day() -> None:
    refusals, now, lost, pauses = Refusals(), 0.0, LOST_AT_FIRST, []
    for _ in range(20):
        assert refusals.pause(lost - 1, now) is None
        pause = refusals.pause(lost, now)
        assert pause is not None
        assert refusals.pause(lost, now) is None
        assert "nobody is let in" in (refusals.words(now) or "")
        assert not refusals.over(lost, now + pause - 1)
        assert refusals.over(lost, now + pause)
        assert refusals.words(now + pause) is None
        pauses.append(pause)
        now += pause
        lost += LOST_LATER
    assert pauses[:3] == [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S]
    assert pauses[-1] == LONGEST_PAUSE_S


def test_a_guest_that_finds_no_descriptors_is_tried_again_where_dpdk_would_not() -> None:
    serving, connecting = Refusals(), Refusals()
    serving.turned_away(0.0, False)
    connecting.turned_away(0.0, True)
    for each in (serving, connecting):
        assert "few descriptors left" in (each.words(1.0) or "")
    assert not serving.over(0, FIRST_PAUSE_S)
    assert connecting.over(0, FIRST_PAUSE_S)
