"""All that is done to files as root, said once: no link of somebody else is followed, what is made has its mode from
the start, and what must last is on the disk before it counts.

Directories are opened step by step and held by descriptors, so that nothing that is moved meanwhile leads elsewhere. A
link on the way is followed when it belongs to root or to us, as /var/run does; everybody else could turn his own.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

PRIVATE = 0o600
"""A file's mode that only its owner may read."""
PRIVATE_DIRECTORY = 0o700
PUBLIC_DIRECTORY = 0o755
MAX_READ_BYTES = 16 * 1024 * 1024
"""What vio4wd keeps for itself is far smaller."""
MAX_LINKS = 40
"""As many as Linux follows (path_resolution(7))."""

Identity = tuple[int, int]
"""Device and inode: another one for another file, while both are there."""

_STEP = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def directory(path: Path) -> Iterator[int]:
    """A descriptor (O_PATH) of this directory, to be given as `dir_fd`. Raises OSError, ELOOP for somebody's link."""
    try:
        descriptor = _walk(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[int]:
    """The directory that `path` is in; what goes wrong in there names the whole path."""
    try:
        with directory(path.parent) as folder:
            yield folder
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def _walk(path: Path) -> int:
    todo = [*reversed(path.absolute().parts[1:])]
    here, links = os.open("/", _STEP | os.O_DIRECTORY), 0
    try:
        while todo:
            step = os.open(todo.pop(), _STEP, dir_fd=here)
            if stat.S_ISLNK(os.fstat(step).st_mode):
                links += 1
                target = _target(step, path, links)
                todo.extend(reversed([part for part in target.parts if part != "/"]))
                os.close(step)
                step = os.open("/", _STEP | os.O_DIRECTORY) if target.is_absolute() else os.dup(here)
            os.close(here)
            here = step
        if not stat.S_ISDIR(os.fstat(here).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    except BaseException:
        os.close(here)
        raise
    return here


def _target(link: int, path: Path, links: int) -> Path:
    """Where an opened link leads, if it may be followed; closed when it may not."""
    owner = os.fstat(link).st_uid
    if owner in (0, os.geteuid()) and links <= MAX_LINKS:
        return Path(os.readlink("", dir_fd=link))
    os.close(link)
    why = f"a link on the way belongs to user {owner}" if links <= MAX_LINKS else os.strerror(errno.ELOOP)
    raise OSError(errno.ELOOP, why, str(path))


def identity(path: Path) -> Identity | None:
    """Which file lies there, a link itself included; None when there is none, or it can't be looked at."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def is_kind(path: Path, kind: Callable[[int], bool]) -> bool:
    """Whether something of this kind (stat.S_ISSOCK and the like) lies there; a link is none but S_ISLNK."""
    try:
        return kind(os.lstat(path).st_mode)
    except OSError:
        return False


def set_owner_and_mode(
    path: Path,
    uid: int,
    gid: int,
    mode: int,
    kind: Callable[[int], bool] = stat.S_ISSOCK,
    only: Identity | None = None,
) -> None:
    """Gives what is certainly a socket (or of another `kind`; and `only` this one) its owner, group and mode: whoever
    may write to its directory cannot have another file's changed. Raises OSError."""
    with _beside(path) as folder:
        descriptor = os.open(path.name, _STEP, dir_fd=folder)
    try:
        found = os.fstat(descriptor)
        if not kind(found.st_mode):
            raise OSError(errno.ENOTSUP, "something else lies there", str(path))
        if only not in (None, (found.st_dev, found.st_ino)):
            raise OSError(errno.ESTALE, "another one lies there", str(path))
        itself = f"/proc/self/fd/{descriptor}"  # chown and chmod take no O_PATH descriptor (open(2))
        if (found.st_uid, found.st_gid) != (uid, gid):
            os.chown(itself, uid, gid)
        if stat.S_IMODE(found.st_mode) != mode or (found.st_uid, found.st_gid) != (uid, gid):
            os.chmod(itself, mode)
    finally:
        os.close(descriptor)


def make_directory(path: Path, uid: int = -1, gid: int = -1, mode: int = PUBLIC_DIRECTORY) -> bool:
    """Makes this directory with its owner, group (-1: ours) and mode, whatever the umask; missing ones above it are
    ours, 0755, or private too. What was there before stays as it is. Returns whether it was made. Raises OSError."""
    if path.is_dir():
        return False
    if not os.path.lexists(path.parent):
        make_directory(path.parent, mode=mode if mode == PRIVATE_DIRECTORY else PUBLIC_DIRECTORY)
    with _beside(path) as folder:
        try:
            os.mkdir(path.name, PRIVATE_DIRECTORY, dir_fd=folder)
        except FileExistsError:
            if not path.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from None
            return False
        try:
            _own(path.name, folder, uid, gid, mode)
        except BaseException:  # one of another mode would be taken for somebody's the next time
            with contextlib.suppress(OSError):
                os.rmdir(path.name, dir_fd=folder)
            raise
    return True


def _own(name: str, folder: int, uid: int, gid: int, mode: int) -> None:
    descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        os.fchown(descriptor, uid, gid)
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)


def read_text(path: Path, max_bytes: int = MAX_READ_BYTES) -> str:
    """The text of a regular file of ours, UTF-8: nothing waits at a FIFO, fills the memory, or leads elsewhere. Raises
    OSError, and ValueError for what is no text."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise OSError(errno.EFBIG, f"it has more than {max_bytes} bytes", str(path))
    return content.decode("utf-8")


def make_private(path: Path) -> None:
    """Sees to it that a file of ours is there, is a regular one, and only its owner may read it: for who opens it by
    its name afterwards. Raises OSError.

    It is never opened for reading or writing: closing it would drop all POSIX locks that this process has on it, as
    SQLite has on its database, and two writers at once destroy that."""
    with contextlib.suppress(FileExistsError):
        os.mknod(path, stat.S_IFREG | PRIVATE)
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        if found.st_mode & 0o077:
            os.chmod(f"/proc/self/fd/{descriptor}", found.st_mode & 0o700)
    finally:
        os.close(descriptor)


def unlink_socket(path: Path) -> None:
    """Removes what is certainly a socket; nothing there is well. Raises OSError."""
    with contextlib.suppress(FileNotFoundError), _beside(path) as folder:
        if not stat.S_ISSOCK(os.stat(path.name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise OSError(errno.ENOTSUP, "something else lies there", str(path))
        os.unlink(path.name, dir_fd=folder)


def write_named(path: Path, text: str, secret: bool = False) -> None:
    """Replaces a file that a person has named, or the one that it links to; a device or a pipe is written to. It keeps
    its owner and mode; a new one obeys the umask, and only its owner may read a `secret`. Raises OSError."""
    if os.path.exists(path) and not os.path.isfile(path):
        path.write_text(text, encoding="utf-8")
        return
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.stat() if path.exists() else None

    def keep(descriptor: int) -> None:
        if before is not None:
            if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
                with contextlib.suppress(PermissionError):
                    os.fchown(descriptor, before.st_uid, before.st_gid)
            os.fchmod(descriptor, stat.S_IMODE(before.st_mode) & (PRIVATE if secret else 0o777))

    _replace(path, text, PRIVATE if secret else 0o666, True, keep)


def write_atomically(path: Path, text: str, mode: int = PRIVATE, durable: bool = True) -> None:
    """Replaces a file of ours, link or not, by one with this text and mode, never seen half written, not even after a
    power cut. Its directory is made when missing, for us alone unless others may read the file. Raises OSError.

    `durable=False` is for what means nothing after a power cut, and saves the wait for the disk.
    """
    make_directory(path.parent, mode=PUBLIC_DIRECTORY if mode & 0o044 else PRIVATE_DIRECTORY)
    _replace(path, text, PRIVATE, durable, lambda descriptor: os.fchmod(descriptor, mode))


def _replace(path: Path, text: str, mode: int, durable: bool, finish: Callable[[int], None]) -> None:
    temporary = f".{path.name[:200]}.{secrets.token_hex(6)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with _beside(path) as folder:
        descriptor = os.open(temporary, flags, mode, dir_fd=folder)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                finish(file.fileno())
                if durable:
                    os.fsync(file.fileno())
            with contextlib.suppress(IsADirectoryError):
                os.replace(temporary, path.name, src_dir_fd=folder, dst_dir_fd=folder)
                temporary = ""
            if temporary:  # whoever made a directory there has to find it again
                set_aside(path)
                os.replace(temporary, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=folder)
            raise
        if durable:
            _sync(folder)


def set_aside(path: Path) -> Path:
    """Gives what lies there another name, `NAME.unreadable-N`, under which nobody looks for it. Raises OSError."""
    with _beside(path) as folder:
        for number in range(1, 1000):
            other = path.with_name(f"{path.name[:200]}.unreadable-{number}")
            if not os.path.lexists(other):
                os.rename(path.name, other.name, src_dir_fd=folder, dst_dir_fd=folder)
                return other
    raise FileExistsError(errno.EEXIST, "too many that were set aside lie there", str(path))


def left_aside(directory: Path) -> list[str]:
    """A sentence on each file there that was set aside; none where the directory can't be read."""
    try:
        names = sorted(name for name in os.listdir(directory) if ".unreadable-" in name)
    except OSError:
        return []
    return [f"{directory / name} could not be read and was set aside; look at it, then remove it" for name in names]


def _sync(folder: int) -> None:
    """Without this the new name itself may be lost with the power."""
    descriptor = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
