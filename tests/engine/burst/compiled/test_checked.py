"""Whatever becomes of the compiled code on disk, the code that runs is what was written: damaged files are compiled
anew, and where nothing can be kept, or others could change it, everything is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kit.paths import ROOT
from tests.kit.system.small_disk import small_disk

RUN = """
import logging, sys
from pathlib import Path
logging.basicConfig(level="INFO")
from engine.burst.compiled.cache import numba_cache
with numba_cache(Path(sys.argv[1]), "0"):
    from tests.engine.burst.compiled.cached_function import twice_and_one
print(twice_and_one(3), sum(twice_and_one.stats.cache_hits.values()))
"""


def run(cache: Path) -> tuple[str, str]:
    """What came out with the number of cache hits, and what was logged."""
    line = [sys.executable, "-c", RUN, str(cache)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done
    return done.stdout.strip(), done.stderr


def each(cache: Path, pattern: str) -> list[Path]:
    found = list(cache.rglob(pattern))
    assert found
    return found


def empty(pattern: str) -> Callable[[Path], None]:
    def damage(cache: Path) -> None:
        for path in each(cache, pattern):
            os.truncate(path, 0)

    return damage


def cut(cache: Path) -> None:
    for path in each(cache, "*.nbc"):
        os.truncate(path, path.stat().st_size // 2)


def noise(cache: Path) -> None:
    """One bit in the middle, which no pickle notices."""
    for path in each(cache, "*.nbc"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)


def somebodys(cache: Path) -> None:
    for path in each(cache, "*.nbi"):
        os.chmod(path, 0o666)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "empty-index": empty("*.nbi"),
    "empty-data": empty("*.nbc"),
    "cut-data": cut,
    "noise": noise,
    "open": somebodys,
}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = tmp_path_factory.mktemp("cache")
    assert run(cache) == ("7 0", "")
    return cache


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_what_is_damaged_is_compiled_anew_and_kept(damage: Callable[[Path], None], kept: Path) -> None:
    damage(kept)
    out, said = run(kept)
    assert (out, said.count("were damaged"), "Traceback" in said) == ("7 0", 1, False)


def test_what_was_compiled_anew_is_kept(kept: Path) -> None:
    noise(kept)
    run(kept)
    assert run(kept) == ("7 1", "")


@pytest.mark.needs("root")
@pytest.mark.parametrize("how", ["full", "read-only"])
def test_where_nothing_can_be_kept_it_is_compiled_into_memory(how: str, tmp_path: Path) -> None:
    with small_disk(tmp_path / "cache", 64) as disk:
        if how == "full":
            disk.fill()
        else:
            disk.read_only()
        out, said = run(disk.path)
        assert (out, said.count("can't be kept"), "Traceback" in said) == ("7 0", 1, False)
        if how == "full":
            disk.empty()
            assert run(disk.path) == ("7 0", "")


@pytest.mark.needs("root")
def test_what_was_kept_before_the_disk_became_read_only_is_used(tmp_path: Path) -> None:
    with small_disk(tmp_path / "cache", 256) as disk:
        assert run(disk.path)[0] == "7 0"
        disk.read_only()
        assert run(disk.path) == ("7 1", "")


def test_where_others_may_write_nothing_is_taken_from_nor_put(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    cache.chmod(0o777)
    out, said = run(cache)
    assert (out, said.count("others could change")) == ("7 0", 1)
    assert not list(cache.rglob("*.nb*"))


def test_directories_of_other_releases_are_removed_when_nobody_has_used_them_for_long(tmp_path: Path) -> None:
    for number in range(20):
        lock = tmp_path / f"{number:016x}" / "lock"
        lock.parent.mkdir()
        lock.touch()
        os.utime(lock, (number * 86400.0, number * 86400.0))
    (tmp_path / "somebody's").mkdir()
    run(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert {f"{number:016x}" for number in range(13, 20)} < left
    assert "somebody's" in left
    assert not {f"{number:016x}" for number in range(12)} & left
