"""Hugepages and their mounts: made before anything needs them, given back afterwards; what there was before stays."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from pathlib import Path

from reconciler.host import hugepage_checks as check
from reconciler.host.hugetlb import HUGETLBFS, Entry, Hugetlb, Pool
from reconciler.host.refusal import HostRefused, PlanProblem, Refusal, kernel_refusals, require
from schema.model import Action, Mount, Pages
from schema.system import files
from state.host_changes import (
    Reserved,
    forget_mount,
    forget_pages,
    made_mounts,
    remember_mount,
    remember_pages,
    reserved_pages,
)
from state.store import Store, StoreOnDemand


class HostMounts(StoreOnDemand):
    """Looks at them, and carries out what a plan wants of them."""

    def __init__(self, state_dir: Path, kernel: Hugetlb | None = None) -> None:
        super().__init__(state_dir)
        self._kernel = kernel or Hugetlb()

    def pages(self) -> dict[str, Pages]:
        """By size, those that there are."""
        return observed_pages(self._kernel, self._store)

    def mounts(self) -> dict[str, Mount]:
        """By path, whoever made them."""
        return observed_mounts(self._kernel, self._store)

    def refusals(self, actions: Iterable[Action]) -> list[PlanProblem]:
        """What on this host stands in the way of a plan's pages and mounts, as it is now."""
        found = [(action.resource, self._refusal(action)) for action in actions]
        return [PlanProblem(resource, why.message) for resource, why in found if why is not None]

    def _refusal(self, action: Action) -> Refusal | None:
        match action.after:
            case Pages():
                return pages_refusal(self._kernel, action.after)
            case Mount():
                return mount_refusal(self._kernel, self._store, action.after)
        return None

    def carry_out(self, action: Action) -> None:
        """Raises HostRefused."""
        match action.after, action.before:
            case Pages() as after, _:
                reserve(self._kernel, self._store, after)
            case Mount() as after, _:
                mount(self._kernel, self._store, after)
            case _, Pages(size=size):
                give_back(self._kernel, self._store, size)
            case _, Mount(path=path):
                unmount(self._kernel, self._store, path)


Counts = tuple[int, ...]
"""Pages by NUMA node."""


def observed_pages(kernel: Hugetlb, store: Store) -> dict[str, Pages]:
    """The sizes of which there are any, and how many of them are not vio4wd's."""
    boot_id, max_maps = kernel.boot_id(), kernel.max_maps()
    known = reserved_pages(store, boot_id)
    pools = {size: kernel.pool(size) for size in kernel.sizes()}
    return {
        size: Pages(size, pool.total, pool.nodes, found_before(pool.nodes, known.get(size)), max_maps)
        for size, pool in pools.items()
        if pool.total
    }


def found_before(live: Counts, known: Reserved | None) -> Counts:
    """How many of the live ones are not vio4wd's. Who reserved more, or took some away, since vio4wd wrote down what it
    left, meant what he did."""
    if known is None:
        return live
    rows = zip_longest(live, known.found, known.kept, fillvalue=0)
    return tuple(now if now > kept else min(now, found) for now, found, kept in rows)


def pages_refusal(kernel: Hugetlb, after: Pages) -> Refusal | None:
    """What would keep these pages from being reserved."""
    if after.size not in kernel.sizes():
        return check.no_such_size(after.size, kernel.sizes())
    pool = kernel.pool(after.size)
    return check.no_such_node(after, pool) or check.too_many(after, pool, kernel.available_bytes())


def reserve(kernel: Hugetlb, store: Store, after: Pages) -> None:
    """Makes the live pages what `after` says, which has no fewer than were found. Raises HostRefused when some are
    lacking or can't be given back yet; as many as possible are then done."""
    require(pages_refusal(kernel, after))
    before = kernel.pool(after.size)
    found = found_before(before.nodes, reserved_pages(store, kernel.boot_id()).get(after.size))
    limit = tuple(max(now, after.total) for now in before.nodes)  # where the kernel puts them is seen afterwards
    remember_pages(store, kernel.boot_id(), Reserved(after.size, found, limit))
    with kernel_refusals(f"pages of {after.size} can't be reserved"):
        _set(kernel, after, before, found)
        if kernel.max_maps() < after.max_maps:
            kernel.set_max_maps(after.max_maps)
    live = kernel.pool(after.size)
    if live.nodes == found:
        forget_pages(store, after.size)
    else:
        remember_pages(store, kernel.boot_id(), Reserved(after.size, found, live.nodes))
    require(check.lacking(after, live) or check.in_use(after, live))


def give_back(kernel: Hugetlb, store: Store, size: str) -> None:
    """All that vio4wd had reserved. Raises as `reserve`."""
    pool = kernel.pool(size)
    found = found_before(pool.nodes, reserved_pages(store, kernel.boot_id()).get(size))
    reserve(kernel, store, Pages(size, sum(found), found))


def _set(kernel: Hugetlb, after: Pages, before: Pool, found: Counts) -> None:
    if not after.nodes and after.total > before.total:
        kernel.reserve(after.size, after.total)
        return
    for node, pages in enumerate(shares(after, before, found)):
        if pages != before.nodes[node]:
            kernel.reserve_on(after.size, node, pages)


def shares(after: Pages, pool: Pool, found: Counts) -> Counts:
    """How many pages each node is to keep: no fewer than are in use or promised, which the kernel would otherwise take
    back behind their users' backs, as soon as they release them."""
    wanted = after.nodes or _fewer(after.total, pool, found)
    keep = [max(wanted[node] if node < len(wanted) else 0, used) for node, used in enumerate(pool.used)]
    short = pool.promised - sum(keep) + sum(pool.used)
    for node in sorted(range(len(pool.nodes)), key=lambda node: keep[node] - pool.nodes[node]):
        more = max(0, min(short, pool.nodes[node] - keep[node]))
        keep[node] += more
        short -= more
    return tuple(keep)


def _fewer(total: int, pool: Pool, found: Counts) -> Counts:
    """Takes the excess from the nodes that have the most to spare."""
    keep = list(pool.nodes)
    least = [max(pair) for pair in zip(pool.used, found, strict=True)]
    for node in sorted(range(len(keep)), key=lambda node: least[node] - keep[node]):
        keep[node] -= max(0, min(sum(keep) - total, keep[node] - least[node]))
    return tuple(keep)


def observed_mounts(kernel: Hugetlb, store: Store) -> dict[str, Mount]:
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


def mount_refusal(kernel: Hugetlb, store: Store, wanted: Mount) -> Refusal | None:
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
    require(mount_refusal(kernel, store, wanted))
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
