"""Long TCP frames cut into segments: the tests of inside_segment.py, run in a process of their own."""

from __future__ import annotations

import pytest

from tests.engine import apart

FILE = "inside_segment.py"


@pytest.mark.parametrize("name", apart.names(FILE))
def test_segment(name: str) -> None:
    apart.check(FILE, name)
