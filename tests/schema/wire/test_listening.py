"""Sockets that are made where nothing else lies."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from schema.wire import listening
from schema.wire.listening import Access, EndpointError, listen
from tests.kit import cleanup
from tests.kit.system.other_user import NOBODY

OURS = Access(os.getuid(), os.getgid(), 0o640)


@pytest.fixture
def path() -> Iterator[Path]:
    directory = cleanup.short_directory()
    yield directory / "sub" / "endpoint"
    shutil.rmtree(directory)


def test_it_has_its_mode_and_can_be_connected_to(path: Path) -> None:
    made = listen(path, OURS)
    about = path.lstat()
    assert stat.S_ISSOCK(about.st_mode)
    assert stat.S_IMODE(about.st_mode) == 0o640
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    assert made.present()
    made.close()
    assert not path.exists()


@pytest.mark.parametrize("kind", ["file", "link", "directory", "FIFO"])
def test_what_is_no_socket_is_never_replaced(kind: str, path: Path) -> None:
    path.parent.mkdir()
    precious = path.parent / "precious"
    precious.write_text("not to be lost")
    match kind:
        case "file":
            path.write_text("not to be lost")
        case "link":
            path.symlink_to(precious)
        case "directory":
            path.mkdir()
        case "FIFO":
            os.mkfifo(path)
    before = path.lstat()
    with pytest.raises(EndpointError, match=rf"there is a (symbolic )?{kind} already, which is not replaced; move it"):
        listen(path, OURS)
    assert os.path.samestat(before, path.lstat())
    assert precious.read_text() == "not to be lost"
    assert sorted(each.name for each in path.parent.iterdir()) == ["endpoint", "precious"]


def test_a_socket_that_nobody_listens_on_is_replaced(path: Path) -> None:
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    made = listen(path, OURS)
    assert made.present()
    assert [each.name for each in path.parent.iterdir()] == ["endpoint"]
    made.close()


def test_one_that_somebody_listens_on_is_not_and_he_is_named(path: Path) -> None:
    first = listen(path, OURS)
    with pytest.raises(EndpointError, match=rf"process {os.getpid()} \(.+\) of user {os.getuid()} listens there"):
        listen(path, OURS)
    assert first.present()
    first.close()


def test_another_kind_of_socket_stays(path: Path) -> None:
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(path))
        with pytest.raises(EndpointError, match="somebody listens there"):
            listen(path, OURS)
    assert path.exists()


def test_at_the_end_only_ones_own_file_goes(path: Path) -> None:
    made = listen(path, OURS)
    path.unlink()
    assert not made.present()
    path.write_text("somebody else's")
    made.close()
    assert path.read_text() == "somebody else's"


def test_what_can_not_be_leaves_nothing(path: Path) -> None:
    with pytest.raises(EndpointError, match="too long"):
        listen(path.with_name("x" * 120), OURS)
    path.parent.rmdir()
    path.parent.write_text("")
    with pytest.raises(EndpointError, match="Not a directory"):
        listen(path, OURS)
    path.parent.unlink()


def test_nobody_connects_before_the_mode_is_right(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def tried(*_: object, **__: object) -> None:
        with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(ConnectionRefusedError):
            client.connect(str(path))
            pytest.fail("it can be connected to already")

    monkeypatch.setattr("schema.wire.listening.set_owner_and_mode", tried)
    listen(path, OURS).close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a link to somebody else")
def test_nothing_is_made_behind_a_link_of_somebody_else(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = path.parents[1] / "elsewhere"
    elsewhere.mkdir()
    path.parent.symlink_to(elsewhere)
    os.lchown(path.parent, NOBODY, NOBODY)
    made: list[str] = []
    bound = listening._bind

    def bind(socket: socket.socket, path: Path) -> None:
        bound(socket, path)
        made.append(str(path))

    monkeypatch.setattr(listening, "_bind", bind)
    with pytest.raises(EndpointError, match=f"a link on the way belongs to user {NOBODY}"):
        listen(path, OURS)
    assert not made


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a link to somebody else")
def test_at_the_end_nothing_is_removed_through_such_a_link(path: Path) -> None:
    """Played with the same file, since between a look and what follows from it there is no place to put another."""
    made = listen(path, OURS)
    moved = path.parent.with_name("moved")
    path.parent.rename(moved)
    path.parent.symlink_to(moved)
    os.lchown(path.parent, NOBODY, NOBODY)
    made.close()
    assert (moved / path.name).is_socket()
