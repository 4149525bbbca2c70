"""When live and wanted match, and in which order they differ."""

from __future__ import annotations

import pytest

from reconciler.observe.diff import difference, matches
from schema.model import Mount, Pages, Pin, Port, Relay, Resource, Socket, Worker


@pytest.mark.parametrize(
    ("wanted", "live", "same"),
    [
        (None, None, True),
        (None, Pin(1, 1, 2), True),
        (Pin(1, 1, 2), Pin(1, 1, 2), True),
        (Pin(1, 1, 2), Pin(1, 2, 1), False),
        (Pin(1, 1, 2), None, False),
        (Port("a"), Port("a"), True),
        (Port("a"), Port("a", "size=64"), False),
        (Port("a"), None, False),
        (None, Port("a"), False),
        (Socket("/a"), Socket("/a", gid=1), False),
        (Relay(1, "a", "/a"), Relay(1, "a", "/a"), True),
        (Relay(1, "a", "/a"), Relay(1, "b", "/a"), False),
        (Worker(1), Worker(1), True),
        (Pages("2M", 0), None, True),
        (Pages("2M", 1), None, False),
        (None, Pages("2M", 5, (5,), (5,)), True),
        (None, Pages("2M", 5, (5,), (4,)), False),
        (Pages("2M", 3), Pages("2M", 5, (5,), (5,)), True),
        (Pages("2M", 3), Pages("2M", 5, (5,), (2,)), False),
        (Pages("2M", 4), Pages("2M", 4, (1, 3), (0, 0)), True),
        (Pages("2M", 4, (3, 1)), Pages("2M", 4, (1, 3), (0, 0)), False),
        (Pages("2M", 4, (1, 3), max_maps=9), Pages("2M", 4, (1, 3), (0, 0), 8), False),
        (Mount("/a", "2M"), None, False),
        (Mount("/a", "2M"), Mount("/a", "2M", 1, 1, 0o755, ours=False), True),
        (Mount("/a", "2M", 0, 1, 0o755), Mount("/a", "2M", 1, 1, 0o755), False),
        (Mount("/a", "2M"), Mount("/a", "1G"), False),
        (None, Mount("/a", "2M"), False),
        (None, Mount("/a", "2M", ours=False), True),
    ],
)
def test_matches(wanted: Resource | None, live: Resource | None, same: bool) -> None:
    assert matches(wanted, live) is same


def test_difference_is_sorted() -> None:
    wanted, live = {3: Worker(3), 1: Worker(1), 2: Worker(2)}, {2: Worker(2), 9: Worker(9), 8: Worker(8)}
    found = difference(wanted, live)
    assert (list(found.added), list(found.removed), found.changed) == ([1, 3], [8, 9], {})
