"""Guests with several queues, flows and checksums: the tests of inside_spread.py, run in a process of their own."""

from __future__ import annotations

import pytest

from tests.engine import apart

FILE = "inside_spread.py"


@pytest.mark.parametrize("name", apart.names(FILE))
def test_spread(name: str) -> None:
    apart.check(FILE, name)
