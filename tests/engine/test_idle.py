"""How a worker rests: the tests of inside_idle.py, run in a process of its own."""

from __future__ import annotations

import pytest

from tests.engine import apart

FILE = "inside_idle.py"


@pytest.mark.parametrize("name", apart.names(FILE))
def test_rest(name: str) -> None:
    apart.check(FILE, name)
