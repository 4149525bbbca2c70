"""What lies at the path of a vhost-user socket, and whose it is: everything about it that is a file's."""

from __future__ import annotations

import os
import socket as unix
import stat
import struct
from pathlib import Path

from engine.api.fault import Refused
from schema.model import Socket
from schema.paths import run_dir
from schema.system import files

CONNECT_TIMEOUT_S = 1.0
_CREDENTIALS = struct.Struct("3i")
"""struct ucred: process, user, group."""

Stamp = tuple[int, int, int]
"""Device, inode and time of birth or change of what lies at a path: numbers of inodes are used again at once."""


def file_at(socket: Socket) -> tuple[int, int] | None:
    """Device and inode of what lies at a server socket's path; None when there is nothing, or the file is QEMU's."""
    return None if socket.mode == "client" else files.identity(Path(socket.path))


def own(socket: Socket, made: files.Identity | None = None) -> None:
    """Gives the file that was made for a server socket its owner and permissions. Raises OSError."""
    if socket.mode == "server":
        files.set_owner_and_mode(Path(socket.path), socket.uid, socket.gid, socket.permissions, only=made)


def stamp(path: str) -> Stamp | None:
    """Which socket lies at a path; None when there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_ctime_ns) if stat.S_ISSOCK(found.st_mode) else None


def prepare(socket: Socket) -> None:
    """Sees to it that a socket can be opened at its path. Raises Refused."""
    if socket.mode == "server":
        make_way(socket)
    elif socket.mode != "client":
        raise Refused("bad-request", f"{socket.path}: its mode must be server or client, not {socket.mode}")
    elif os.path.exists(socket.path) and stamp(socket.path) is None:
        message = f"{socket.path} exists and is no socket: move it away, so that QEMU can make one"
        raise Refused("socket", message)


def make_way(socket: Socket) -> None:
    """Makes the directory and removes a stale socket. Refuses a path at which something else lies."""
    path = Path(socket.path)
    try:
        _make_room(socket, path.parent)
        with files.directory(path.parent):  # DPDK, which makes the socket, would follow somebody's link on the way
            pass
        if not os.access(path.parent, os.W_OK | os.X_OK):
            reason = "it is read-only, or not the engine's to write to"
            raise Refused("socket", f"{path.parent} cannot hold a socket: {reason}")
        _remove_stale(path)
    except FileNotFoundError:
        return
    except NotADirectoryError as error:
        raise Refused("socket", f"{path.parent} cannot hold a socket: it is no directory") from error
    except OSError as error:
        raise Refused("socket", f"{path.parent} cannot hold a socket: {error.strerror}") from error


def _make_room(socket: Socket, folder: Path) -> None:
    """Makes the directory of a socket, for who may connect to that; one in the run directory that an older release
    made, for itself alone, is set right. Raises OSError."""
    mode = files.PUBLIC_DIRECTORY if socket.permissions & 0o007 else 0o750
    if not files.make_directory(folder, socket.uid, socket.gid, mode) and _shut(folder, socket.uid):
        files.set_owner_and_mode(folder, socket.uid, socket.gid, mode, stat.S_ISDIR)


def _shut(folder: Path, uid: int) -> bool:
    """Whether a directory is ours alone, sockets are for another user, and nothing but sockets is or was in it.
    Elsewhere than in the run directory it may be any service's of root's, and is nobody's to give away."""
    if not folder.is_relative_to(run_dir()):
        return False
    found = os.lstat(folder)
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() != uid
    if not ours or stat.S_IMODE(found.st_mode) != files.PRIVATE_DIRECTORY:
        return False
    return all(files.is_kind(each, stat.S_ISSOCK) for each in folder.iterdir())


def _remove_stale(path: Path) -> None:
    """Raises OSError, and Refused where anything lies but a socket to which nobody listens."""
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise Refused("socket", f"{path} exists and is no socket: move it away or choose another path")
    if (who := listener(path)) is not None:
        raise Refused("socket", f"{who} listens on {path}: stop it or choose another path")
    files.unlink_socket(path)


def listener(path: Path) -> str | None:
    """Who accepts connections there, in words; a socket whose process has died refuses them: None."""
    with unix.socket(unix.AF_UNIX) as probe:
        probe.settimeout(CONNECT_TIMEOUT_S)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return None
        except OSError:
            return "another process"
        process, user, _ = _CREDENTIALS.unpack(probe.getsockopt(unix.SOL_SOCKET, unix.SO_PEERCRED, _CREDENTIALS.size))
        return f"another process ({process} of user {user})"


def replaced_by(path: str) -> str:
    """What lies in the place of a socket that was made there, in words."""
    try:
        found = os.lstat(path)
    except OSError:
        return "was removed"
    kind = "another socket" if stat.S_ISSOCK(found.st_mode) else "something that is no socket"
    return f"was replaced by {'a link' if stat.S_ISLNK(found.st_mode) else kind} of user {found.st_uid}"


def shut_out(socket: Socket) -> str | None:
    """Which directory keeps the owner of a socket from it, in words; None when none does. Access control lists are
    not judged, nor what further groups he is in."""
    for folder in reversed(Path(socket.path).parents):
        try:
            found = os.stat(folder)
        except OSError:
            return None
        if not _may_enter(found, socket.uid, socket.gid) and not _has_list(folder):
            mode = stat.S_IMODE(found.st_mode)
            return f"user {socket.uid} cannot enter {folder} (mode {mode:04o} of user {found.st_uid})"
    return None


def _may_enter(found: os.stat_result, uid: int, gid: int) -> bool:
    if uid == 0:
        return True
    if found.st_uid == uid:
        return bool(found.st_mode & stat.S_IXUSR)
    return bool(found.st_mode & (stat.S_IXGRP if found.st_gid == gid else stat.S_IXOTH))


def _has_list(folder: Path) -> bool:
    try:
        return "system.posix_acl_access" in os.listxattr(folder)
    except OSError:
        return False
