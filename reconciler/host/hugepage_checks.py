"""What can't be reserved, mounted or given back on a host as it is now, and what to do: pure."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import zip_longest

from reconciler.host.hugetlb import HUGETLBFS, Entry, Pool
from reconciler.host.refusal import Refusal
from schema.model import PAGE_BYTES, Mount, Pages


def no_such_size(size: str, sizes: Iterable[str]) -> Refusal:
    has = f"it has pages of {' and '.join(sizes)}" if sizes else "it has none at all"
    flag = " (its CPU has no flag pdpe1gb, or its kernel no hugetlbfs)" if size == "1G" else ""
    return Refusal("unsupported", f"this host can't have pages of {size}{flag}; {has}: write another page_size")


def no_such_node(after: Pages, pool: Pool) -> Refusal | None:
    beyond = [node for node, pages in enumerate(after.nodes) if pages and node >= len(pool.nodes)]
    if not beyond:
        return None
    last = len(pool.nodes) - 1
    message = f"reserve asks for pages on NUMA node {beyond[0]}, and the last node of this host is {last}: take it out"
    return Refusal("unsupported", message)


def too_many(after: Pages, pool: Pool, available_bytes: int) -> Refusal | None:
    """Asked for all of its memory, a kernel gives it, and the host has none left to live on."""
    need = _mib(after.size, after.total - pool.total)
    available = available_bytes // 2**20
    if need <= available:
        return None
    message = (
        f"{after.total} pages of {after.size} need {need} MiB more and this host has {available} MiB available: "
        f"{need - available} MiB are missing, and none were reserved; reserve fewer, or give the host more memory"
    )
    return Refusal("no-memory", message)


def lacking(after: Pages, live: Pool) -> Refusal | None:
    """Some could not be reserved."""
    rows = enumerate(zip_longest(after.nodes, live.nodes, fillvalue=0))
    short = {node: wanted - has for node, (wanted, has) in rows if after.nodes and wanted > has}
    missing = sum(short.values()) if after.nodes else after.total - live.total
    nodes = ", ".join(f"node {node}: {pages}" for node, pages in short.items())
    where = f" ({nodes})" if nodes and len(live.nodes) > 1 else ""
    if missing <= 0:
        return None
    message = (
        f"{missing} of {after.total} pages of {after.size} ({_mib(after.size, missing)} MiB) are missing{where}: "
        "memory is in use, or in pieces that are too small. To have them from the host's start on, write on the "
        f"kernel's command line: {command_line(after)}"
    )
    return Refusal("no-memory", message)


def command_line(after: Pages) -> str:
    """By node since Linux 5.16."""
    several = len(after.nodes) > 1
    count = ",".join(f"{node}:{pages}" for node, pages in enumerate(after.nodes)) if several else f"{after.total}"
    return f"default_hugepagesz={after.size} hugepagesz={after.size} hugepages={count}"


def in_use(after: Pages, live: Pool) -> Refusal | None:
    """Some were not to be given back."""
    excess = live.total - after.total
    if excess <= 0:
        return None
    message = (
        f"{excess} pages of {after.size} ({_mib(after.size, excess)} MiB) are in use beyond the {after.total} that are "
        "to stay; they are given back when their users release them"
    )
    return Refusal("in-use", message)


def _mib(size: str, pages: int) -> int:
    return pages * PAGE_BYTES[size] // 2**20


def to_mount(wanted: Mount, entry: Entry | None, ours: bool, sizes: Iterable[str]) -> Refusal | None:
    """`entry` is what is mounted there now."""
    if wanted.page_size not in sizes:
        return no_such_size(wanted.page_size, sizes)
    if entry is None:
        return None
    if entry.type != HUGETLBFS:
        message = f"a file system of type {entry.type} is mounted at {wanted.path}; name another path under mount"
        return Refusal("failed", message)
    if entry.page_size != wanted.page_size and not ours:
        message = (
            f"{wanted.path} is mounted with pages of {entry.page_size}, not by vio4wd; write page_size: "
            f"{entry.page_size}, name another path under mount, or run: umount {wanted.path}"
        )
        return Refusal("failed", message)
    return None


def busy(path: str, users: list[str]) -> Refusal:
    who = " and ".join([", ".join(users[:-1]), users[-1]] if len(users) > 1 else users) or "somebody in the kernel"
    message = f"{path} is in use by {who}; it is unmounted when that ends"
    return Refusal("in-use", message)
