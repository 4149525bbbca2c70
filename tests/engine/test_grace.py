"""Grace periods and callbacks under real threads: the tests of inside_grace.py, run in a process of its own."""

from __future__ import annotations

import pytest

from tests.engine import apart

FILE = "inside_grace.py"


@pytest.mark.parametrize("name", apart.names(FILE))
def test_grace(name: str) -> None:
    apart.check(FILE, name)
