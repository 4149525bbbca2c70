"""What the services' own state takes down, and takes back when the disk has no room for it."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path

import schema
from reconciler.frontends.backend import PortControlBackend

SPEC = schema.parse(
    "apiVersion: vio4wd/v1\nrelays: [{id: 1, vf: net_null1}, {id: 2, vf: net_null2}]\nengine: {worker_cpus: [1, 2]}\n",
    "spec",
)


def test_cpus_that_can_not_be_kept_are_not_had_either(tmp_path: Path) -> None:
    with contextlib.closing(PortControlBackend(tmp_path, lambda: SPEC)) as front:
        assert not front.pin({1: (1, 1)})
        front._store.fault, front._store._again_at = "the disk is full", math.inf  # as it is after a fault
        assert front.pin({1: (2, 2), 2: (2, 2)}) == "the disk is full"
        assert front.pins() == {1: (1, 1)}
        front._store._again_at = 0.0  # and is written to again, with what was missed
        assert front.pins() == {1: (1, 1)}
        assert front._store.fault is None
