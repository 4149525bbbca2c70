"""Every test in here needs a host on which wires can be laid and guests started."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit.runner.repetitions import times

HERE = Path(__file__).parent
NEEDS = ("root", "netns", "dpdk-testpmd")
LIMIT_S = times(300, 1800)
"""For one test; ends a hang, and proves nothing."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.needs(*NEEDS))
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(LIMIT_S))
