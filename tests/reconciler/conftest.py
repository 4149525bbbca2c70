"""What the reconciler's tests share: a watch, and a command line, with an engine that is fake."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.command_line import ONE, Shell, relays, watching
from tests.kit.fakes.fake_engine import Served
from tests.kit.fakes.watch_harness import WatchHarness, document
from tests.kit.waiting import wait_for


@pytest.fixture
def harness() -> Iterator[WatchHarness]:
    with tempfile.TemporaryDirectory(prefix="v4-") as name:
        directory = Path(name)
        file = directory / "vio4wd.yaml"
        file.write_text(document(1))
        made = WatchHarness(directory, file)
        with Served(made.engine, made.run_dir) as made.served:
            made.start()
            try:
                made.until_relays(1)
                yield made
            finally:
                made.stop()


@pytest.fixture
def alone() -> Iterator[Shell]:
    """A command line whose engine does not answer."""
    with tempfile.TemporaryDirectory(prefix="v4-") as name:
        yield Shell(Path(name))


@pytest.fixture
def shell(alone: Shell) -> Iterator[Shell]:
    """A command line with an engine."""
    with Served(alone.engine, alone.run_dir):
        yield alone


@pytest.fixture
def watched(shell: Shell) -> Iterator[Shell]:
    """A watch that keeps a file with relay 1."""
    process = watching(shell, shell.write(ONE))
    wait_for("relay 1", lambda: relays(shell) == {1}, 30.0)
    yield shell
    process.terminate()
    process.wait(30)
