"""The compiled loops against slow, obvious twins: the tests of inside_twins.py, run in a process of its own."""

from __future__ import annotations

import pytest

from tests.engine import apart

FILE = "inside_twins.py"


@pytest.mark.parametrize("name", apart.names(FILE))
def test_twin(name: str) -> None:
    apart.check(FILE, name)
