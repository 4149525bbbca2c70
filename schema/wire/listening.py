"""A unix socket that is listened on: made where nothing else lies, its owner and mode right before anybody can connect,
and removed only where it is still ours."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import socket
import stat
import struct
from dataclasses import dataclass
from pathlib import Path

from schema.system.files import Identity, directory, identity, make_directory, set_owner_and_mode

BACKLOG = 1024
"""Clients that may wait to be let in; the kernel allows no more than net.core.somaxconn."""
PROBE_S = 0.5
"""Whoever does not take a connection for so long is there all the same, and busy."""
KINDS = {
    stat.S_IFREG: "a file",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class EndpointError(Exception):
    """An endpoint can't be opened; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Access:
    """Whose a socket's file is, and who may connect."""

    uid: int
    gid: int
    mode: int


@dataclass(frozen=True, slots=True)
class Listening:
    """A socket that clients can connect to."""

    path: Path
    socket: socket.socket
    made: Identity | None
    """Which file was made for it. The socket keeps the inode, so no other one gets its number."""

    def present(self) -> bool:
        """Whether new clients find it."""
        return self.made is not None and identity(self.path) == self.made

    def close(self) -> None:
        """Its file goes too, unless another one lies there by now."""
        if self.present():
            with contextlib.suppress(OSError):
                self._remove()
        self.socket.close()

    def _remove(self) -> None:
        """This very file, wherever the path leads by now. Raises OSError."""
        with directory(self.path.parent) as folder:
            about = os.stat(self.path.name, dir_fd=folder, follow_symlinks=False)
            if (about.st_dev, about.st_ino) == self.made:
                os.unlink(self.path.name, dir_fd=folder)


def listen(path: Path, access: Access) -> Listening:
    """Raises EndpointError: nothing that lies there is replaced, but a socket that nobody listens on."""
    try:
        make_directory(path.parent)
        with directory(path.parent):  # somebody's link on the way is refused before anything is made behind it
            pass
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    except OSError as error:
        raise _refused(path, error) from None
    found = None
    try:
        _bind(made, path)
        found = Listening(path, made, _ours(path))
        if found.made is None:
            raise EndpointError(f"{path} can't be opened: somebody put another file there in the meantime")
        set_owner_and_mode(path, access.uid, access.gid, access.mode, only=found.made)
        made.listen(BACKLOG)  # until here nobody can connect
    except (OSError, EndpointError) as error:
        found.close() if found is not None else made.close()
        raise (error if isinstance(error, EndpointError) else _refused(path, error)) from None
    return found


def _ours(path: Path) -> Identity | None:
    """The file that was made just now, if nobody has moved another into its place."""
    about = os.lstat(path)
    return (about.st_dev, about.st_ino) if stat.S_ISSOCK(about.st_mode) and about.st_uid == os.geteuid() else None


def _refused(path: Path, error: OSError) -> EndpointError:
    why = error.strerror or str(error)
    return EndpointError(f"{path} can't be opened: {why}; check its directory, and who may write there")


def _bind(made: socket.socket, path: Path) -> None:
    try:
        made.bind(str(path))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        _make_room(path)
        made.bind(str(path))


def _make_room(path: Path) -> None:
    """Removes a socket that nobody listens on. Raises EndpointError for everything else."""
    about = os.lstat(path)
    if not stat.S_ISSOCK(about.st_mode):
        kind = KINDS.get(stat.S_IFMT(about.st_mode), "something")
        words = f"there is {kind} already, which is not replaced; move it away, or name another path"
        raise EndpointError(f"{path} can't be opened: {words}")
    if (who := _listener(path)) is not None:
        raise EndpointError(f"{path} can't be opened: {who} listens there; end that, or name another path")
    _put_away(path, (about.st_dev, about.st_ino))


def _listener(path: Path) -> str | None:
    """Who listens there; None when nobody does."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(PROBE_S)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return None
        except OSError:  # its queue is full, or it is another kind of socket
            return "somebody"
        pid, uid, _ = struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    with contextlib.suppress(OSError):
        name = Path("/proc", str(pid), "comm").read_text(errors="replace").strip()
        return f"process {pid} ({name}) of user {uid}"
    return f"process {pid} of user {uid}"


def _put_away(path: Path, stale: Identity) -> None:
    """Removes this very file: what somebody has moved into its place meanwhile is put back."""
    aside = f".{path.name[:200]}.{secrets.token_hex(6)}"
    with directory(path.parent) as folder:
        os.rename(path.name, aside, src_dir_fd=folder, dst_dir_fd=folder)
        about = os.stat(aside, dir_fd=folder, follow_symlinks=False)
        if (about.st_dev, about.st_ino) == stale:
            os.unlink(aside, dir_fd=folder)
            return
        with contextlib.suppress(OSError):
            os.link(aside, path.name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
            os.unlink(aside, dir_fd=folder)
    raise EndpointError(f"{path} can't be opened: what lies there changes while it is looked at")
