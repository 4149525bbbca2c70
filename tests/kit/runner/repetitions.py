"""How often what is repeated is repeated."""

from __future__ import annotations

import os

LONG = os.environ.get("VIO4WD_TEST_LONG") == "1"


def times(short: int, long: int) -> int:
    """`long` with VIO4WD_TEST_LONG=1 (`scripts/test --long`), `short` otherwise."""
    return long if LONG else short
