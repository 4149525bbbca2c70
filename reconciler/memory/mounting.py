"""hugetlbfs mounted and unmounted, with the directories that QEMU under libvirt has on it."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from reconciler.host.refusal import HostRefused, Refusal, kernel_refusals, require
from reconciler.memory import checks as check
from reconciler.memory.hugetlb import HUGETLBFS, Entry, Hugetlb
from schema.model import Mount
from schema.system import files
from state.host_changes import forget_mount, made_mounts, remember_mount
from state.store import Store


def observed(kernel: Hugetlb, store: Store) -> dict[str, Mount]:
    """Every mount of hugetlbfs."""
    ours = made_mounts(store, kernel.boot_id())
    entries = [entry for entry in kernel.entries().values() if entry.type == HUGETLBFS]
    return {entry.path: _seen(entry, entry.path in ours) for entry in entries}


def _seen(entry: Entry, ours: bool) -> Mount:
    """Directories that differ, or of which one is not there, have no owner."""
    try:
        owners = {(s.st_uid, s.st_gid, s.st_mode & 0o7777) for s in map(os.lstat, _directories(entry.path))}
    except OSError:
        owners = set()
    if len(owners) != 1:
        return Mount(entry.path, entry.page_size, ours=ours)
    return Mount(entry.path, entry.page_size, *owners.pop(), ours)


def _directories(path: str) -> tuple[str, str]:
    """Where libvirt has QEMU make its files, after its parent."""
    return f"{path}/libvirt", f"{path}/libvirt/qemu"


def objection(kernel: Hugetlb, store: Store, wanted: Mount) -> Refusal | None:
    """What would keep it from being mounted."""
    path = Path(wanted.path)
    real = os.path.realpath(path)
    if real != wanted.path:
        return Refusal("failed", f"{wanted.path} leads to {real}; write that under mount")
    entry = kernel.entries().get(wanted.path)
    ours = wanted.path in made_mounts(store, kernel.boot_id())
    return check.to_mount(wanted, entry, ours, kernel.sizes()) or (_place(path) if entry is None else None)


def _place(path: Path) -> Refusal | None:
    """A directory with something in it would be hidden by a mount."""
    try:
        if any(path.iterdir()):
            message = f"{path} has files in it, which a mount would hide; empty it, or name another path under mount"
            return Refusal("failed", message)
    except NotADirectoryError:
        return Refusal("failed", f"{path} is no directory; name another path under mount")
    except FileNotFoundError:
        pass
    except OSError as error:
        return Refusal("failed", f"{path} can't be looked into: {error.strerror}")
    return None


def mount(kernel: Hugetlb, store: Store, wanted: Mount) -> None:
    """Mounts it, unless it is, and makes its directories. Raises HostRefused."""
    require(objection(kernel, store, wanted))
    entry = kernel.entries().get(wanted.path)
    if entry is not None and entry.page_size != wanted.page_size:
        unmount(kernel, store, wanted.path)
        entry = None
    with kernel_refusals(f"hugepages can't be mounted at {wanted.path}"):
        if entry is None:
            _mount(kernel, store, wanted)
        if wanted.uid is not None and wanted.gid is not None and wanted.permissions is not None:
            _make_directories(wanted.path, wanted.uid, wanted.gid, wanted.permissions)


def _mount(kernel: Hugetlb, store: Store, wanted: Mount) -> None:
    path = Path(wanted.path)
    missing = [each for each in (path, *path.parents) if not each.exists()]
    remember_mount(store, kernel.boot_id(), wanted.path, str(missing[-1]) if missing else "")
    try:
        files.make_directory(path)
        kernel.mount(wanted.path, wanted.page_size)
    except OSError:
        _tidy(store, kernel.boot_id(), wanted.path)
        raise


def _make_directories(path: str, uid: int, gid: int, permissions: int) -> None:
    for each in map(Path, _directories(path)):
        files.make_directory(each, uid, gid, permissions)
        files.set_owner_and_mode(each, uid, gid, permissions, stat.S_ISDIR)


def unmount(kernel: Hugetlb, store: Store, path: str) -> None:
    """Takes down what vio4wd has mounted, unless somebody uses it. Raises HostRefused."""
    boot_id = kernel.boot_id()
    entry = kernel.entries().get(path)
    if path in made_mounts(store, boot_id) and entry is not None and entry.type == HUGETLBFS:
        with kernel_refusals(f"{path} can't be unmounted"):
            _unmount(kernel, path)
    _tidy(store, boot_id, path)


def _unmount(kernel: Hugetlb, path: str) -> None:
    try:
        kernel.unmount(path)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise HostRefused(check.busy(path, users_of(path))) from error
        raise


def _tidy(store: Store, boot_id: str, path: str) -> None:
    """Removes the directories that were made for a mount, as long as nothing is in them, and forgets it."""
    made = made_mounts(store, boot_id).get(path)
    forget_mount(store, path)
    if not made:
        return
    with contextlib.suppress(OSError):
        for each in (Path(path), *Path(path).parents):
            each.rmdir()
            if str(each) == made:
                break


def users_of(path: str) -> list[str]:
    """The processes that have something of this mount open or mapped: `qemu-system-x86 (pid 4711)`, by pid. As far as
    we may look."""
    device = Path(path).stat().st_dev
    pids = sorted(int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit())
    return [f"{_name(pid)} (pid {pid})" for pid in pids if _uses(pid, device)]


def _name(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return "a process that has ended since"


def _uses(pid: int, device: int) -> bool:
    with contextlib.suppress(OSError):
        return device in _mapped(pid) or any(_device(link) == device for link in _links(pid))
    return False


def _mapped(pid: int) -> Iterator[int]:
    """proc(5): address perms offset dev inode pathname."""
    with Path(f"/proc/{pid}/maps").open(errors="replace") as maps:
        for line in maps:
            major, _, minor = line.split(" ", 4)[3].partition(":")
            yield os.makedev(int(major, 16), int(minor, 16))


def _links(pid: int) -> Iterable[Path]:
    own = Path(f"/proc/{pid}")
    return [own / "cwd", own / "root", *(own / "fd").iterdir()]


def _device(link: Path) -> int | None:
    with contextlib.suppress(OSError):
        return link.stat().st_dev
    return None
