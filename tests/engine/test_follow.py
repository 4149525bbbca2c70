"""When buffers follow a guest: the tests of inside_follow.py, run in a process of its own."""

from __future__ import annotations

import pytest

from tests.engine import apart

FILE = "inside_follow.py"


@pytest.mark.parametrize("name", apart.names(FILE))
def test_follow(name: str) -> None:
    apart.check(FILE, name)
