"""These tests run inside the lab's machine, which `scripts/test --sriov` starts: it says where its VFs and NICs are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sriov.machine import Qmp, release

HERE = Path(__file__).parent
LIMIT_S = 900
"""For one test; ends a hang on a machine in software emulation, and proves nothing."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    lacking = [name for name in ("VFS", "NICS", "LAB_QMP") if not os.environ.get(name)]
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.needs("root", "netns", "dpdk-testpmd"))
            item.add_marker(pytest.mark.timeout(LIMIT_S))
            if lacking:
                item.add_marker(pytest.mark.skip(reason="needs a machine with VFs: scripts/test --sriov"))


@pytest.fixture
def vfs() -> Iterator[list[str]]:
    """VFs of an igb: no driver, no link. A vio4wd that ends keeps what it has bound, so it is given back here."""
    addresses = os.environ["VFS"].split()
    yield addresses
    for address in addresses:
        release(address, "")


@pytest.fixture
def nics() -> Iterator[list[str]]:
    """NICs with the kernel's e1000e, wired in pairs."""
    addresses = os.environ["NICS"].split()
    yield addresses
    for address in addresses:
        release(address, "e1000e")


@pytest.fixture
def qmp() -> Iterator[Qmp]:
    made = Qmp(Path(os.environ["LAB_QMP"]))
    yield made
    made.close()
