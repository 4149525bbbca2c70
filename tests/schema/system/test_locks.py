"""A lock is held by one process of ours at a time, and by nobody else ever."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from schema.system import locks
from tests.kit.system.other_user import NOBODY, as_nobody

root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")


def taken(path: Path) -> int:
    descriptor = locks.take(path)
    assert descriptor is not None
    return descriptor


def test_one_holds_it_and_lets_go_when_closed(tmp_path: Path) -> None:
    path = tmp_path / "apply.lock"
    assert not locks.is_held(path)
    held = taken(path)
    assert (locks.take(path), locks.is_held(path), locks.holder(path)) == (None, True, os.getpid())
    os.close(held)
    assert (locks.is_held(path), locks.holder(path)) == (False, None)
    os.close(taken(path))


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that others may enter, as pytest's are not."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


@root
def test_another_user_can_not_hold_it_but_is_told_that_it_is_held(public: Path) -> None:
    path = public / "apply.lock"
    held = taken(path)
    try:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert "PermissionError" in as_nobody(f"open({str(path)!r})").stderr
        file = f"{os.major(path.stat().st_dev):02x}:{os.minor(path.stat().st_dev):02x}:{path.stat().st_ino}"
        assert as_nobody(f"print({file!r} in open('/proc/locks').read())").stdout == "True\n"
    finally:
        os.close(held)


@root
def test_one_that_somebody_else_holds_is_replaced(public: Path) -> None:
    """As an older release made it, readable by all."""
    path = public / "apply.lock"
    path.touch(0o644)
    code = f"import fcntl; fcntl.flock(open({str(path)!r}), fcntl.LOCK_EX); print(1, flush=True); input()"
    command = ["setpriv", f"--reuid={NOBODY}", "--clear-groups", sys.executable, "-I", "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/") as other:
        assert other.stdout is not None
        assert other.stdin is not None
        other.stdout.readline()
        held = taken(path)
        assert (locks.take(path), stat.S_IMODE(path.stat().st_mode)) == (None, 0o600)
        assert os.listdir(path.parent) == [path.name]
        os.close(held)
        other.stdin.close()


def test_one_that_an_older_release_of_ours_holds_stays(tmp_path: Path) -> None:
    path = tmp_path / "apply.lock"
    path.touch(0o644)
    with path.open() as older:
        fcntl.flock(older, fcntl.LOCK_EX)
        assert locks.take(path) is None
    os.close(taken(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("precious")
    with pytest.raises(OSError, match="symbolic links"):
        locks.take(tmp_path / "link")
    assert os.listdir(tmp_path) == ["link"]
