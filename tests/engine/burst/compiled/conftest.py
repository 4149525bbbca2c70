"""What the engine's tests share: the burst loops, compiled from nothing once for all tests that read or keep them."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kit.paths import ROOT
from tests.kit.runner import own_process


@dataclass(frozen=True, slots=True)
class Compiled:
    """What one process compiled, and the cache that it left."""

    directory: Path
    """NAME.ll and NAME.s of each function that was compiled."""
    cache: Path
    hits: dict[str, int]
    """How often each function came from the cache."""

    def files(self) -> dict[str, int]:
        """The cache's files, with the time of their last change."""
        return {str(path): path.stat().st_mtime_ns for path in self.cache.rglob("*.nb*")}


def compile_with(cache: Path, directory: Path) -> Compiled:
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine.burst.compiled.compile_loops", str(directory)],
        cwd=ROOT,
        env={**own_process.environment(), "VIO4WD_CACHE_DIR": str(cache)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Compiled(directory, cache, json.loads(done.stdout))


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """Compiled with an empty cache."""
    own_process.require_dpdk()
    return compile_with(tmp_path_factory.mktemp("cache"), tmp_path_factory.mktemp("compiled"))
