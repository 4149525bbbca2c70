"""The process that reads a directory on behalf of the watch."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.sources.directory import DirectorySource
from reconciler.sources.source import SourceError
from schema.spec import DirectorySpec
from tests.kit.waiting import wait_for


def test_one_that_is_started_while_it_is_stopped_ends_too(tmp_path: Path) -> None:
    """`stop` comes from another thread, maybe before there is a process that it could end."""
    source = DirectorySource(DirectorySpec(str(tmp_path)), lambda: ("node1",))
    source.stop()
    with pytest.raises(SourceError):
        source.read("")
    wait_for("no process to be left", lambda: source._reader is None or not source._reader.is_alive())
