"""What lies at a socket's path before it is opened, whose it is afterwards, and an engine's start-up parameters."""

from __future__ import annotations

import json
import os
import re
import socket as unix
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import parameters, sockets
from engine.fault import Refused
from schema.model import Engine, Socket, Worker
from tests.kit import cleanup


@pytest.fixture
def directory() -> Iterator[Path]:
    """Short, since a socket's path has room for 107 bytes."""
    found = cleanup.short_directory()
    yield found
    for path in sorted(found.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    found.rmdir()


@pytest.fixture
def stale(directory: Path) -> Path:
    """A socket whose process has died."""
    path = directory / "vm1.sock"
    with unix.socket(unix.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    return path


@pytest.fixture
def live(directory: Path) -> Iterator[Path]:
    path = directory / "vm2.sock"
    with unix.socket(unix.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        yield path


def refusal(path: Path) -> str:
    """Why a socket can't be opened there; the path is named and the reason is a sentence."""
    with pytest.raises(Refused) as refused:
        sockets.make_way(path)
    assert refused.value.code == "socket"
    assert len(str(refused.value).split()) > 4
    return str(refused.value)


def test_a_stale_socket_makes_way(stale: Path) -> None:
    assert not sockets.listening(stale)
    sockets.make_way(stale)
    assert not stale.exists()


def test_a_socket_that_was_bound_and_never_listened_makes_way(directory: Path) -> None:
    path = directory / "vm1.sock"
    with unix.socket(unix.AF_UNIX) as bound:
        bound.bind(str(path))
        sockets.make_way(path)
    assert not path.exists()


def test_a_stale_socket_that_stays_is_refused(stale: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Played: root, as whom an engine runs, is refused it only where file system or kernel are special."""

    def refused(_path: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as played:
        played.setattr(Path, "unlink", refused)
        assert "Operation not permitted" in refusal(stale)
    assert stale.is_socket()


def test_a_live_listener_is_refused_and_stays(live: Path) -> None:
    assert sockets.listening(live)
    assert str(live) in refusal(live)
    assert live.is_socket()
    assert sockets.listening(live)


def test_a_listener_whose_queue_is_full_is_live(directory: Path) -> None:
    path, waiting = directory / "vm1.sock", []
    with unix.socket(unix.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(0)
        for _ in range(4):
            waiting.append(unix.socket(unix.AF_UNIX))
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(str(path))
        assert sockets.listening(path)
        for each in waiting:
            each.close()


def test_a_socket_of_another_kind_is_not_taken_away(directory: Path) -> None:
    path = directory / "vm1.sock"
    with unix.socket(unix.AF_UNIX, unix.SOCK_DGRAM) as bound:
        bound.bind(str(path))
        assert str(path) in refusal(path)
    assert path.is_socket()


def test_a_file_in_its_place_is_refused_by_name(directory: Path) -> None:
    path = directory / "vm1.sock"
    path.write_text("precious")
    assert str(path) in refusal(path)
    assert path.read_text() == "precious"


def test_a_directory_in_its_place_is_refused_by_name(directory: Path) -> None:
    path = directory / "vm1.sock"
    path.mkdir()
    assert str(path) in refusal(path)
    assert path.is_dir()


@pytest.mark.parametrize("target", ["stale", "live", "nowhere"])
def test_a_link_in_its_place_is_refused_and_what_it_leads_to_stays(
    target: str, directory: Path, stale: Path, live: Path
) -> None:
    path = directory / "link.sock"
    path.symlink_to({"stale": stale, "live": live, "nowhere": directory / "nowhere"}[target])
    assert str(path) in refusal(path)
    assert path.is_symlink()
    assert stale.is_socket()
    assert live.is_socket()


def test_the_directory_is_made(directory: Path) -> None:
    path = directory / "a/b/vm1.sock"
    sockets.make_way(path)
    assert path.parent.is_dir()
    sockets.make_way(path)


def test_a_file_in_place_of_the_directory_is_refused_by_name(directory: Path) -> None:
    (directory / "a").write_text("")
    assert str(directory / "a") in refusal(directory / "a/vm1.sock")
    assert str(directory / "a") in refusal(directory / "a/b/vm1.sock")


def test_nothing_in_the_way_is_no_listener(directory: Path) -> None:
    assert not sockets.listening(directory / "vm1.sock")


@pytest.mark.parametrize("permissions", [0o600, 0o660, 0o666])
def test_the_file_gets_its_owner_and_permissions(permissions: int, stale: Path) -> None:
    uid, gid = os.getuid(), os.getgid()
    if uid == 0:  # only root may give a file away
        uid, gid = 4711, 4712
    socket = Socket(str(stale), uid=uid, gid=gid, permissions=permissions)
    sockets.own(socket)
    found = stale.lstat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (uid, gid, permissions)
    assert sockets.observed(Socket(str(stale))) == socket


def test_a_file_that_is_gone_is_observed_as_it_was(directory: Path) -> None:
    socket = Socket(str(directory / "vm1.sock"), uid=1, gid=2, permissions=0o600)
    assert sockets.observed(socket) == socket
    with pytest.raises(OSError, match=re.escape(socket.path)):
        sockets.own(socket)


# Parameters


def test_parameters_are_read(tmp_path: Path) -> None:
    path = tmp_path / "engine-0.json"
    engine = {"main_cpu": 1, "idle": "busy", "idle_sleep_us": 5, "log_level": "debug"}
    path.write_text(json.dumps({"engine": engine, "workers": [{"cpu": 2}, {"cpu": 3}]}))
    assert parameters.read(path) == parameters.Parameters(Engine(1, "busy", 5, "debug"), (Worker(2), Worker(3)))


def test_missing_parameters_say_who_writes_them(tmp_path: Path) -> None:
    with pytest.raises(parameters.ParametersError) as error:
        parameters.read(tmp_path / "engine-0.json")
    assert str(tmp_path / "engine-0.json") in str(error.value)
    assert "vio4wd watch" in str(error.value)


GARBLED = {
    "nothing": b"",
    "half": b'{"engine": {"main_cpu": 0}, "work',
    "no text": b"\xff\x00",
    "null": b"null",
    "a list": b"[]",
    "no workers": b'{"engine": {}}',
    "no engine": b'{"workers": []}',
    "unknown key": b'{"engine": {"main_cpus": 0}, "workers": []}',
    "unknown worker key": b'{"engine": {}, "workers": [{"core": 1}]}',
    "workers that are no list": b'{"engine": {}, "workers": 3}',
    "a worker that is none": b'{"engine": {}, "workers": [1]}',
    "a CPU that is a word": b'{"engine": {"main_cpu": "zero"}, "workers": []}',
    "a worker's CPU that is a word": b'{"engine": {}, "workers": [{"cpu": "1"}]}',
    "a CPU that is nothing": b'{"engine": {}, "workers": [{"cpu": null}]}',
    "an unknown idle": b'{"engine": {"idle": 3}, "workers": []}',
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("name", GARBLED)
def test_garbled_parameters_are_refused_by_name(name: str, tmp_path: Path) -> None:
    path = tmp_path / "engine-0.json"
    path.write_bytes(GARBLED[name])
    with pytest.raises(parameters.ParametersError) as error:
        parameters.read(path)
    assert str(path) in str(error.value)
    assert "remove it" in str(error.value)
