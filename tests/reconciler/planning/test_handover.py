"""Relays that take each other's ports and sockets: the fewest are removed and added again."""

from __future__ import annotations

import pytest

from reconciler.planning.handover import Handover, handover
from schema.model import Relay
from tests.kit.relay_states import pairs


def updated(count: int, by: int, repinned: frozenset[int] = frozenset(), shuffle: tuple[int, int] = (1, 0)) -> Handover:
    """Relay i takes the port of relay i + by, and the socket of relay i * shuffle[0] + shuffle[1]."""
    times, more = shuffle
    after = [Relay(i, f"p{(i + by) % count}", f"/{(i * times + more) % count}") for i in range(count)]
    return handover(pairs(*after), pairs(*(Relay(i, f"p{i}", f"/{i}") for i in range(count))), repinned, {})


@pytest.mark.parametrize(
    ("count", "by", "broken"), [(2, 1, (0,)), (64, 1, (0,)), (64, 32, tuple(range(32))), (4, 0, ())]
)
def test_one_relay_of_each_circle_is_broken(count: int, by: int, broken: tuple[int, ...]) -> None:
    found = updated(count, by)
    assert tuple(found.broken) == broken
    assert sorted((*found.broken, *found.updated)) == list(range(count if by else 0))


def test_a_relay_that_changes_its_pin_is_broken_for_free() -> None:
    assert tuple(updated(3, 1, frozenset({2})).broken) == (2,)


def test_a_circle_too_large_for_exact_search_is_still_undone() -> None:
    found = updated(30, 1, shuffle=(7, 3))
    assert sorted((*found.broken, *found.updated)) == list(range(30))
    assert len(found.broken) < 20
