"""Files are replaced whole, with their mode, and no link of somebody else leads root elsewhere."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from schema.system import files
from tests.kit.system.other_user import NOBODY, umask

root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to somebody else")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@contextmanager
def listener(path: Path) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))
        yield


Writer = Callable[[Path, str], None]
WRITERS = [files.write_atomically, files.write_named]


@pytest.mark.parametrize("write", WRITERS)
def test_a_file_is_replaced_and_nothing_else_left(tmp_path: Path, write: Writer) -> None:
    path = tmp_path / "made" / "a.json"
    for text in ("one", "two"):
        write(path, text)
        assert path.read_text() == text
    assert os.listdir(path.parent) == ["a.json"]


@pytest.mark.parametrize("write", WRITERS)
def test_what_can_not_be_written_leaves_the_old_one_and_no_half(tmp_path: Path, write: Writer) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write(path, "\udcff")
    assert (path.read_text(), os.listdir(tmp_path)) == ("old", ["a.json"])


def test_a_named_link_stays_one_and_one_in_a_place_of_ours_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "link"
    path.symlink_to("there")
    files.write_named(path, "x")
    assert (path.is_symlink(), (tmp_path / "there").read_text()) == (True, "x")
    files.write_atomically(path, "y")
    assert (path.is_symlink(), path.read_text(), (tmp_path / "there").read_text()) == (False, "y", "x")


def test_a_named_pipe_is_written_to_and_stays_one(tmp_path: Path) -> None:
    """As /dev/null has to, when root names it after plan -o."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        files.write_named(path, "x")
        assert (path.is_fifo(), os.read(reader, 9)) == (True, b"x")
    finally:
        os.close(reader)


@pytest.mark.parametrize(
    ("before", "mask", "secret", "after"),
    [
        (None, 0o022, False, 0o644),
        (None, 0o077, False, 0o600),
        (None, 0o022, True, 0o600),
        (0o600, 0o022, False, 0o600),
        (0o664, 0o077, False, 0o664),
        (0o644, 0o022, True, 0o600),
        (0o400, 0o022, True, 0o400),
    ],
)
def test_a_named_file_keeps_its_mode_and_a_new_one_obeys_the_umask(
    tmp_path: Path, before: int | None, mask: int, secret: bool, after: int
) -> None:
    path = tmp_path / "a.plan"
    if before is not None:
        path.touch()
        path.chmod(before)
    with umask(mask):
        files.write_named(path, "x", secret)
    assert mode(path) == after


@root
def test_a_named_file_keeps_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.touch()
    os.chown(path, NOBODY, NOBODY)
    files.write_named(path, "x")
    assert (path.stat().st_uid, path.stat().st_gid) == (NOBODY, NOBODY)


@pytest.mark.parametrize("mask", [0, 0o022, 0o077])
def test_ours_have_their_modes_whatever_the_umask(tmp_path: Path, mask: int) -> None:
    with umask(mask):
        files.write_atomically(tmp_path / "state" / "engine-0.json", "x")
        files.write_atomically(tmp_path / "run" / "watch.json", "x", 0o644)
    found = {str(each.relative_to(tmp_path)): mode(each) for each in tmp_path.rglob("*")}
    assert found == {"state": 0o700, "state/engine-0.json": 0o600, "run": 0o755, "run/watch.json": 0o644}


@root
@pytest.mark.parametrize("what", ["symlink", "hard link", "file", "directory", "pipe", "nothing"])
def test_only_a_socket_is_given_away(tmp_path: Path, what: str) -> None:
    secret, path = tmp_path / "shadow", tmp_path / "vm1.sock"
    secret.touch()
    secret.chmod(0o600)
    make: dict[str, Callable[[], object]] = {
        "symlink": lambda: path.symlink_to(secret),
        "hard link": lambda: path.hardlink_to(secret),
        "file": path.touch,
        "directory": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "nothing": lambda: None,
    }
    make[what]()
    with pytest.raises(OSError, match=r"something else|No such file"):
        files.set_owner_and_mode(path, NOBODY, NOBODY, 0o666)
    assert (secret.stat().st_uid, mode(secret)) == (0, 0o600)


@root
def test_a_socket_is_given_away_and_only_the_one_that_is_meant(tmp_path: Path) -> None:
    path = tmp_path / "vm1.sock"
    with listener(path):
        files.set_owner_and_mode(path, NOBODY, NOBODY, 0o660, only=files.identity(path))
        assert (path.stat().st_uid, path.stat().st_gid, mode(path)) == (NOBODY, NOBODY, 0o660)
        with pytest.raises(OSError, match="another one"):
            files.set_owner_and_mode(path, 0, 0, 0o666, only=(0, 0))
    assert (path.stat().st_uid, mode(path)) == (NOBODY, 0o660)


@root
def test_a_link_on_the_way_is_followed_unless_somebody_else_made_it(tmp_path: Path) -> None:
    (tmp_path / "there" / "deeper").mkdir(parents=True)
    link = tmp_path / "link"
    link.symlink_to("there/../there")
    with listener(tmp_path / "there" / "deeper" / "a"):
        through = link / "deeper" / "a"
        files.set_owner_and_mode(through, 0, 0, 0o600)
        os.chown(link, NOBODY, NOBODY, follow_symlinks=False)
        for attempt in (
            lambda: files.set_owner_and_mode(through, NOBODY, NOBODY, 0o666),
            lambda: files.unlink_socket(through),
            lambda: files.make_directory(link / "made"),
            lambda: files.write_atomically(link / "made", "x"),
        ):
            with pytest.raises(OSError, match=f"belongs to user {NOBODY}"):
                attempt()
    assert os.listdir(tmp_path / "there") == ["deeper"]
    assert mode(tmp_path / "there" / "deeper" / "a") == 0o600


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="Too many levels"), files.directory(tmp_path / "a" / "c"):
        pass


def test_the_way_through_directories_leaks_no_descriptor(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    before = os.listdir("/proc/self/fd")
    for path in (tmp_path / "link", tmp_path / "missing" / "x", tmp_path / "file", tmp_path / "file" / "x"):
        try:
            with files.directory(path):
                pass
        except OSError:
            continue
    assert os.listdir("/proc/self/fd") == before


@root
@pytest.mark.parametrize("mask", [0, 0o077])
def test_a_directory_is_made_with_owner_and_mode_and_one_that_was_there_stays(tmp_path: Path, mask: int) -> None:
    path = tmp_path / "a" / "b"
    with umask(mask):
        assert files.make_directory(path, NOBODY, NOBODY, 0o750)
    assert (path.stat().st_uid, path.stat().st_gid, mode(path)) == (NOBODY, NOBODY, 0o750)
    assert (path.parent.stat().st_uid, mode(path.parent)) == (0, 0o755)
    assert not files.make_directory(path, 0, 0, 0o700)
    assert (path.stat().st_uid, mode(path)) == (NOBODY, 0o750)
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        files.make_directory(tmp_path / "file")


def test_only_a_plain_file_of_bounded_size_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("ä" * 4)
    assert files.read_text(path, 8) == "ä" * 4
    with pytest.raises(OSError, match="more than 7 bytes"):
        files.read_text(path, 7)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(path)
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "link", "folder", "missing"):
        with pytest.raises(OSError, match=r"regular|Too many|directory|No such"):
            files.read_text(tmp_path / name)
    path.write_bytes(b"\xff")
    with pytest.raises(ValueError, match="utf-8"):
        files.read_text(path)


def test_only_a_socket_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    files.unlink_socket(path)
    with listener(path):
        files.unlink_socket(path)
    assert not path.exists()
    path.write_text("mine")
    with pytest.raises(OSError, match="something else"):
        files.unlink_socket(path)
    assert path.read_text() == "mine"
