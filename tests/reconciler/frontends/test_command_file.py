"""A command in a file: believed only when it is root's or ours, a regular file with one name, and closed."""

from __future__ import annotations

import os
import signal
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.frontends.command_file import MAX_BYTES, StillWritten, Untrusted, command_file
from tests.kit.waiting import wait_for


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vio_cmd"


def test_a_command_is_read_and_its_file_removed(path: Path) -> None:
    path.write_text("add_port eth0\n")
    with command_file(path) as command:
        assert command.text == "add_port eth0\n"
        command.remove()
    assert os.listdir(path.parent) == []


def _link(path: Path) -> None:
    path.with_name("other").write_text("add_port eth0")
    path.symlink_to("other")


def _hard_link(path: Path) -> None:
    path.with_name("other").write_text("add_port eth0")
    path.hardlink_to(path.with_name("other"))


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        before = os.getcwd()
        os.chdir(path.parent)  # its own path is too long for a socket
        try:
            made.bind(path.name)
        finally:
            os.chdir(before)


def _foreign(path: Path) -> None:
    path.write_text("add_port eth0")
    os.chown(path, 65534, 65534)


def _open_to_all(path: Path) -> None:
    path.write_text("add_port eth0")
    path.chmod(0o666)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (_link, "is a symbolic link; commands are taken from regular files only"),
        (lambda path: path.symlink_to("nowhere"), "is a symbolic link"),
        (_hard_link, "has 2 names; commands are taken from files with one, not from hard links"),
        (os.mkfifo, "is a FIFO"),
        (lambda path: path.mkdir(), "is a directory"),
        (_socket, "is a socket"),
        (lambda path: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5)), "is a device"),
        (_foreign, "belongs to user 65534; commands are taken from root and from vio4wd's own user only"),
        (_open_to_all, "may be written by anybody; write it with permissions 0644 or less"),
        (lambda path: path.write_bytes(b"x" * (MAX_BYTES + 1)), f"has {MAX_BYTES + 1} bytes"),
    ],
    ids=["symlink", "dangling", "hardlink", "fifo", "directory", "socket", "device", "foreign", "open", "long"],
)
@pytest.mark.needs("root")
def test_what_is_not_to_be_believed_is_left_where_it_is(
    path: Path, make: Callable[[Path], object], sentence: str
) -> None:
    make(path)
    before = os.lstat(path)
    with pytest.raises(Untrusted) as refused, command_file(path):
        pass
    assert str(refused.value).startswith(sentence)
    assert os.path.samestat(before, os.lstat(path))


def test_half_a_command_is_waited_for(path: Path) -> None:
    with path.open("w") as file:
        file.write("add_port eth")
        file.flush()
        with pytest.raises(StillWritten), command_file(path):
            pass
        file.write("10\n")
    with command_file(path) as command:
        assert command.text == "add_port eth10\n"


def test_a_writer_waits_until_the_command_is_carried_out(path: Path) -> None:
    """What it writes then goes into a file that has no name any more, or stays for the next look: never into a command
    that was read before."""
    path.write_text("add_port eth0\n")
    writing, heard = threading.Event(), []

    def write() -> None:
        writing.set()
        with path.open("a") as file:
            file.write("more\n")

    before = signal.signal(signal.SIGURG, lambda *_: heard.append(True))
    try:
        with command_file(path) as command:
            writer = threading.Thread(target=write)
            writer.start()
            wait_for("the writer", writing.is_set)
            wait_for("the kernel's word of it", lambda: bool(heard))
            assert command.text == "add_port eth0\n"
            command.remove()
        writer.join()
    finally:
        signal.signal(signal.SIGURG, before)
    assert not path.exists()


def test_a_file_that_was_moved_into_its_place_stays(path: Path) -> None:
    path.write_text("add_port eth0\n")
    with command_file(path) as command:
        newer = path.with_name("newer")
        newer.write_text("del_port eth0\n")
        newer.replace(path)
        command.remove()
    assert path.read_text() == "del_port eth0\n"
    assert os.listdir(path.parent) == [path.name]


def test_none_is_none(path: Path) -> None:
    with pytest.raises(FileNotFoundError), command_file(path):
        pass
