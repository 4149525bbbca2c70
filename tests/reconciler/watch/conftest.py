"""A watch of a file or directory, started by a test, and a repository."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.watch.schedule import Timing
from tests.kit.fakes.fake_engine import Served
from tests.kit.fakes.watch_harness import NEVER_POLL, WatchHarness
from tests.kit.system.git_repository import Repository


@pytest.fixture
def directory() -> Iterator[Path]:
    """Short, because a socket's path is."""
    with tempfile.TemporaryDirectory(prefix="v4-") as name:
        yield Path(name)


@pytest.fixture
def steer(directory: Path) -> Iterator[Callable[..., WatchHarness]]:
    """Starts a watch of a file or directory, once."""
    started: list[WatchHarness] = []
    served: list[Served] = []

    def start(file: Path, timing: Timing = NEVER_POLL) -> WatchHarness:
        made = WatchHarness(directory, file)
        served.append(Served(made.engine, made.run_dir))
        served[-1].__enter__()
        started.append(made)
        made.start(timing)
        return made

    yield start
    for made in started:
        made.stop()
    for each in served:
        each.__exit__(None, None, None)


@pytest.fixture
def repository(directory: Path) -> Repository:
    return Repository(directory)
