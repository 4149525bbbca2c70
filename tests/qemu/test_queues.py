"""A real guest with four queue pairs and four CPUs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.runner.repetitions import times
from tests.kit.waiting import wait_for
from tests.qemu.qemu_topology import QemuTopology, qemu_topology

QUEUES = 4
COUNT = times(500, 20_000)
"""Datagrams of each flow."""
PORTS = tuple(str(7000 + queue) for queue in range(QUEUES))
NUMBERED = str(Path(__file__).with_name("numbered.py"))


@pytest.fixture(scope="module")
def at() -> Iterator[QemuTopology]:
    with qemu_topology(serves=False) as found:
        found.boot(talks=True, queues=QUEUES, first=f"python3 {NUMBERED} echo {' '.join(PORTS)}")
        wait_for("all queues to be enabled", lambda: found.live().queues == QUEUES, 60.0)
        yield found


def test_four_streams_flow_over_four_queues(at: QemuTopology) -> None:
    wrong = at.wrong_checksums()
    assert at.tcp("-P", str(QUEUES)) > 0
    assert at.tcp("-P", str(QUEUES), "-R") > 0
    assert at.wrong_checksums() == wrong
    assert at.answers().duplicates == 0


def test_each_of_four_flows_keeps_its_order_both_ways(at: QemuTopology) -> None:
    """The guest sends each back from another CPU, and so by another queue: its driver goes by CPUs."""
    before = by_queue(at)
    line = ["python3", NUMBERED, "send", at.address, str(COUNT), *PORTS]
    seen = json.loads(at.made.namespace.run(line, timeout_s=280).stdout)
    assert {port: (len(numbers), numbers == sorted(numbers)) for port, numbers in seen.items()} == dict.fromkeys(
        PORTS, (COUNT, True)
    )
    used = {name: count - before[name] for name, count in by_queue(at).items()}
    assert [name[:2] for name, count in used.items() if count >= COUNT].count("tx") == QUEUES
    print(f"packets by queue, as the guest counts them: {used}")


def by_queue(at: QemuTopology) -> dict[str, int]:
    """Packets of each of the guest's queues by name: `rx_queue_0` in Debian 12, `rx0` in later kernels."""
    line = ["python3", NUMBERED, "queues", at.address, PORTS[0]]
    said = wait_for("the guest's counters", lambda: at.made.namespace.run(line).stdout.strip(), 120.0)
    return {name: int(count) for name, count in re.findall(r"([rt]x\w*\d)_packets: (\d+)", said)}
