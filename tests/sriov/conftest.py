"""These tests run inside the lab's machine, which `scripts/test --sriov` starts: it says where its VFs and NICs are."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.instance import Instance
from tests.kit.network.netns import Namespace
from tests.kit.waiting import wait_for
from tests.sriov.bench import Bench
from tests.sriov.machine import Qmp, release
from tests.sriov.waits import LONG_S, LOOK_S, text, wait_ports

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


@pytest.fixture(scope="session")
def running() -> Iterator[Instance]:
    """One vio4wd for all tests, which find it with nothing relayed: to start one takes a minute there."""
    with Instance() as made:
        made.save(text(made))
        made.run(wait=False)
        wait_ports(made)
        yield made


@pytest.fixture
def vfs() -> list[str]:
    """VFs of an igb: no driver, no link."""
    return os.environ["VFS"].split()


@pytest.fixture
def nics() -> list[str]:
    """NICs with the kernel's e1000e, wired in pairs."""
    return os.environ["NICS"].split()


@pytest.fixture
def instance(running: Instance, vfs: list[str], nics: list[str]) -> Iterator[Instance]:
    """The running vio4wd. After the test it relays nothing and gives back what it has bound; the rest is done here."""
    running.check_running()
    yield running
    running.save(text(running))
    wait_ports(running)
    wait_for("what was bound to be given back", lambda: not running.engines.vfs.bound(), LONG_S, LOOK_S)
    for address in vfs:
        release(address, "")
    for address in nics:
        release(address, "e1000e")


@pytest.fixture
def bench(instance: Instance) -> Iterator[Bench]:
    with Namespace() as namespace, contextlib.ExitStack() as stack:
        yield Bench(instance, namespace, stack)


@pytest.fixture
def qmp() -> Iterator[Qmp]:
    made = Qmp(Path(os.environ["LAB_QMP"]))
    yield made
    made.close()
