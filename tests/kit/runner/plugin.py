"""pytest: skips by the name of what is missing, says at the end what was skipped and why, leaves nothing running.

@pytest.mark.needs("root", "netns", "dpdk-testpmd")
"""

from __future__ import annotations

import functools
import signal
from collections import Counter

import pytest

from tests.kit import cleanup
from tests.kit.network import netns
from tests.kit.system import host


@functools.cache
def _missing(need: str) -> str | None:
    return host.missing(need)


def pytest_configure(config: pytest.Config) -> None:
    line = "needs(*what): skip unless these are there (root, netns, hugepages, or names of programs)"
    config.addinivalue_line("markers", line)
    # A shell without job control lets what it starts in the background ignore SIGINT, nohup lets it ignore SIGHUP, and
    # what we start inherits that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        for need in mark.args:
            # Hugepages come and go with what other tests hold, so they are looked at each time.
            lacking = host.missing(need) if need == "hugepages" else _missing(need)
            if lacking is not None:
                pytest.skip(f"needs {lacking}")


def pytest_sessionstart() -> None:
    if host.missing("root") is None:
        netns.delete_stale_namespaces()


def pytest_sessionfinish() -> None:
    cleanup.end_everything()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(_reason(report) for report in skipped)
    terminalreporter.write_line(f"skipped: {len(skipped)}")
    for reason, count in sorted(reasons.items()):
        terminalreporter.write_line(f"  {count} x {reason}")


def _reason(report: pytest.TestReport) -> str:
    words = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return words.removeprefix("Skipped: ")
