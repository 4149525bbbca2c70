"""A command that somebody leaves in a file, maybe in a directory that anybody may write to: taken from whom it may come
from only, whole, and once.

What is at the path is looked at before it is opened, since opening a device may do something, and again afterwards,
since it may be another by then. A read lease (fcntl(2), F_SETLEASE) is granted only while nobody has the file open
for writing, and keeps writers waiting until the command has been carried out and the file is gone.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import signal
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MAX_BYTES = 1024
"""The longest command has 26."""
KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class Untrusted(Exception):  # noqa: N818 - an answer
    """What is there is not to be believed, or not to be read; a sentence without the path."""


class StillWritten(Exception):  # noqa: N818 - a state of things
    """Somebody has it open for writing; it is looked at again when he closes it."""


@dataclass(frozen=True, slots=True)
class CommandFile:
    """A file that is kept open: what stands in it, and how it is removed."""

    text: str
    _folder: int
    _name: str
    _about: os.stat_result

    def remove(self) -> None:
        """Removes this very file. One that somebody moved into its place meanwhile stays. Raises OSError."""
        aside = f".{self._name}.{secrets.token_hex(8)}"
        os.rename(self._name, aside, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        about = os.stat(aside, dir_fd=self._folder, follow_symlinks=False)
        if not os.path.samestat(about, self._about):
            with contextlib.suppress(FileExistsError):  # the newest of three counts, as if it had been moved over both
                os.link(aside, self._name, src_dir_fd=self._folder, dst_dir_fd=self._folder, follow_symlinks=False)
        os.unlink(aside, dir_fd=self._folder)


@contextlib.contextmanager
def command_file(path: Path) -> Iterator[CommandFile]:
    """The command at this path; writers wait until the end of the block. Raises FileNotFoundError where there is none,
    Untrusted, StillWritten, or OSError."""
    with contextlib.ExitStack() as stack:
        folder = _opened(stack, str(path.parent), os.O_DIRECTORY)
        _require_trusted(os.stat(path.name, dir_fd=folder, follow_symlinks=False))
        file = _opened(stack, path.name, os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY, folder)
        _require_trusted(os.fstat(file))
        _keep_writers_out(file)
        about = os.fstat(file)  # of what nobody changes any more
        _require_trusted(about)
        text = os.pread(file, MAX_BYTES, 0).decode("utf-8", "replace")
        yield CommandFile(text, folder, path.name, about)


def _opened(stack: contextlib.ExitStack, path: str, flags: int, folder: int | None = None) -> int:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Untrusted(_not_a_file(stat.S_IFLNK)) from None
        raise
    stack.callback(os.close, descriptor)
    return descriptor


def _keep_writers_out(file: int) -> None:
    try:
        # A writer that comes has SIGIO sent to us, which would end the process; SIGURG is ignored unless it is caught.
        fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        if error.errno == errno.EAGAIN:
            raise StillWritten from None
        # Not our file, or a file system without leases: then it is whole when it was closed, as far as can be known.


def _require_trusted(about: os.stat_result) -> None:
    """Raises Untrusted."""
    kind = stat.S_IFMT(about.st_mode)
    if kind != stat.S_IFREG:
        raise Untrusted(_not_a_file(kind))
    if about.st_uid not in (0, os.geteuid()):
        raise Untrusted(f"belongs to user {about.st_uid}; commands are taken from root and from vio4wd's own user only")
    if about.st_mode & stat.S_IWOTH:
        raise Untrusted("may be written by anybody; write it with permissions 0644 or less")
    if about.st_nlink != 1:
        raise Untrusted(f"has {about.st_nlink} names; commands are taken from files with one, not from hard links")
    if about.st_size > MAX_BYTES:
        raise Untrusted(f"has {about.st_size} bytes; a command has up to {MAX_BYTES}")


def _not_a_file(kind: int) -> str:
    return f"is {KINDS.get(kind, 'no regular file')}; commands are taken from regular files only"
