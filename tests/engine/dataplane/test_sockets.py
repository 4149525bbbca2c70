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

from engine.api import parameters
from engine.api.fault import Refused
from engine.dataplane import socket_file
from engine.dataplane.sockets import OpenSocket, observed
from schema.model import Engine, Socket, Worker
from tests.kit import cleanup
from tests.kit.system.other_user import NOBODY, umask

root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to somebody else")


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


def make_way(path: Path) -> None:
    socket_file.make_way(Socket(str(path), uid=os.getuid(), gid=os.getgid()))


def refusal(path: Path) -> str:
    """Why a socket can't be opened there; the path is named and the reason is a sentence."""
    with pytest.raises(Refused) as refused:
        make_way(path)
    assert refused.value.code == "socket"
    assert len(str(refused.value).split()) > 4
    return str(refused.value)


def test_a_stale_socket_makes_way(stale: Path) -> None:
    assert not socket_file.listener(stale)
    make_way(stale)
    assert not stale.exists()


def test_a_socket_that_was_bound_and_never_listened_makes_way(directory: Path) -> None:
    path = directory / "vm1.sock"
    with unix.socket(unix.AF_UNIX) as bound:
        bound.bind(str(path))
        make_way(path)
    assert not path.exists()


@root
def test_a_directory_behind_a_link_of_somebody_else_is_refused(directory: Path) -> None:
    (directory / "elsewhere").mkdir()
    (directory / "link").symlink_to(directory / "elsewhere")
    os.lchown(directory / "link", NOBODY, NOBODY)
    assert f"a link on the way belongs to user {NOBODY}" in refusal(directory / "link" / "vm1.sock")


def test_a_stale_socket_that_stays_is_refused(stale: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Played: root, as whom an engine runs, is refused it only where file system or kernel are special."""

    def refused(*_path: object, **_where: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as played:
        played.setattr(os, "unlink", refused)
        assert "Operation not permitted" in refusal(stale)
    assert stale.is_socket()


def test_a_live_listener_is_refused_and_stays(live: Path) -> None:
    assert socket_file.listener(live)
    assert str(live) in refusal(live)
    assert live.is_socket()
    assert socket_file.listener(live)


def test_a_listener_whose_queue_is_full_is_live(directory: Path) -> None:
    path, waiting = directory / "vm1.sock", []
    with unix.socket(unix.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(0)
        for _ in range(4):
            waiting.append(unix.socket(unix.AF_UNIX))
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(str(path))
        assert socket_file.listener(path)
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
    make_way(path)
    assert path.parent.is_dir()
    make_way(path)


@root
@pytest.mark.parametrize(("permissions", "mode"), [(0o660, 0o750), (0o666, 0o755)])
def test_the_made_directory_is_the_sockets_owners(directory: Path, permissions: int, mode: int) -> None:
    """Whatever the engine's umask, which is 077."""
    path = directory / "a/b/vm1.sock"
    socket = Socket(str(path), uid=NOBODY, gid=NOBODY, permissions=permissions)
    with umask(0o077):
        socket_file.make_way(socket)
    found = path.parent.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (NOBODY, NOBODY, mode)
    assert (path.parent.parent.stat().st_uid, stat.S_IMODE(path.parent.parent.stat().st_mode)) == (0, 0o755)


@root
@pytest.mark.parametrize(
    ("there", "owner", "healed"),
    [(None, 0, True), ("stale", 0, True), ("file", 0, False), (None, 4711, False)],
)
def test_one_that_an_older_release_made_is_set_right_and_no_other(
    directory: Path, there: str | None, owner: int, healed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was root's alone, and had only sockets in it; with anything else in it, it is somebody's own."""
    monkeypatch.setenv("VIO4WD_RUN_DIR", str(directory))
    folder = directory / "a"
    folder.mkdir(0o700)
    os.chown(folder, owner, owner)
    if there == "file":
        (folder / "x").touch()
    elif there == "stale":
        with unix.socket(unix.AF_UNIX) as dead:
            dead.bind(str(folder / "vm2.sock"))
    socket_file.make_way(Socket(str(folder / "vm1.sock"), uid=NOBODY, gid=NOBODY, permissions=0o660))
    found = folder.stat()
    expected = (NOBODY, NOBODY, 0o750) if healed else (owner, owner, 0o700)
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == expected


@root
def test_a_directory_of_roots_elsewhere_is_given_to_nobody(directory: Path) -> None:
    """It may be another service's, such as /run/cryptsetup, which whoever may push a spec could have had."""
    folder = directory / "cryptsetup"
    folder.mkdir(0o700)
    socket = Socket(str(folder / "vm1.sock"), uid=NOBODY, gid=NOBODY, permissions=0o660)
    socket_file.make_way(socket)
    assert (folder.stat().st_uid, stat.S_IMODE(folder.stat().st_mode)) == (0, 0o700)
    assert "cannot enter" in (socket_file.shut_out(socket) or "")


@root
def test_a_directory_that_shuts_out_the_owner_is_named(directory: Path) -> None:
    folder = directory / "a" / "b"
    folder.mkdir(parents=True)
    directory.chmod(0o755)
    socket = Socket(str(folder / "vm1.sock"), uid=NOBODY, gid=NOBODY)
    assert socket_file.shut_out(socket) is None
    folder.parent.chmod(0o710)
    said = f"user {NOBODY} cannot enter {folder.parent} (mode 0710 of user 0)"
    assert socket_file.shut_out(socket) == said
    os.chown(folder.parent, 0, NOBODY)
    assert socket_file.shut_out(socket) is None
    folder.parent.chmod(0o700)
    os.chown(folder.parent, NOBODY, 0)
    assert socket_file.shut_out(socket) is None
    os.chown(folder.parent, 0, 0)
    assert socket_file.shut_out(Socket(socket.path, uid=0)) is None


def test_what_lies_in_its_place_is_named(stale: Path) -> None:
    made = OpenSocket(Socket(str(stale), uid=1, permissions=0o600), 0, made=(1, 2))
    uid = os.getuid()
    assert socket_file.replaced_by(str(stale)) == f"was replaced by another socket of user {uid}"
    assert observed(made) == made.socket, "whose permissions are not ours to mend"
    stale.unlink()
    assert socket_file.replaced_by(str(stale)) == "was removed"
    stale.symlink_to("/etc/shadow")
    assert socket_file.replaced_by(str(stale)) == f"was replaced by a link of user {uid}"
    assert observed(made) == made.socket
    stale.unlink()
    stale.touch()
    assert socket_file.replaced_by(str(stale)) == f"was replaced by something that is no socket of user {uid}"


def test_a_listener_is_named_by_process_and_user(live: Path) -> None:
    assert socket_file.listener(live) == f"another process ({os.getpid()} of user {os.getuid()})"


def test_a_file_in_place_of_the_directory_is_refused_by_name(directory: Path) -> None:
    (directory / "a").write_text("")
    assert str(directory / "a") in refusal(directory / "a/vm1.sock")
    assert str(directory / "a") in refusal(directory / "a/b/vm1.sock")


def test_nothing_in_the_way_is_no_listener(directory: Path) -> None:
    assert not socket_file.listener(directory / "vm1.sock")


@pytest.mark.parametrize("permissions", [0o600, 0o660, 0o666])
def test_the_file_gets_its_owner_and_permissions(permissions: int, stale: Path) -> None:
    uid, gid = os.getuid(), os.getgid()
    if uid == 0:  # only root may give a file away
        uid, gid = 4711, 4712
    socket = Socket(str(stale), uid=uid, gid=gid, permissions=permissions)
    socket_file.own(socket)
    found = stale.lstat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (uid, gid, permissions)
    opened = OpenSocket(Socket(str(stale)), 0, made=socket_file.file_at(socket))
    assert observed(opened) == socket


def test_a_file_that_is_gone_is_observed_as_it_was(directory: Path) -> None:
    socket = Socket(str(directory / "vm1.sock"), uid=1, gid=2, permissions=0o600)
    assert observed(OpenSocket(socket, 0, made=(1, 2))) == socket
    with pytest.raises(OSError, match=re.escape(socket.path)):
        socket_file.own(socket)


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
    assert "vio4wd watch writes it anew" in str(error.value)
