"""What peers may say, rule by rule: the tests of inside_gate.py, run in a process of their own."""

from __future__ import annotations

import pytest

from tests.engine import apart

FILE = "inside_gate.py"


@pytest.mark.parametrize("name", apart.names(FILE))
def test_gate(name: str) -> None:
    apart.check(FILE, name)
