"""This host's hugepages and their mounts, as resources."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import zip_longest
from pathlib import Path

from reconciler.host.refusal import PlanProblem, Refusal, kernel_refusals, require
from reconciler.memory import checks as check
from reconciler.memory import mounting
from reconciler.memory.hugetlb import Hugetlb, Pool
from schema.model import Action, Mount, Pages
from state.host_changes import Reserved, forget_pages, remember_pages, reserved_pages
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
        return mounting.observed(self._kernel, self._store)

    def objections(self, actions: Iterable[Action]) -> list[PlanProblem]:
        """What on this host stands in the way of a plan's pages and mounts, as it is now."""
        found = [(action.resource, self._objection(action)) for action in actions]
        return [PlanProblem(resource, why.message) for resource, why in found if why is not None]

    def _objection(self, action: Action) -> Refusal | None:
        match action.after:
            case Pages():
                return pages_objection(self._kernel, action.after)
            case Mount():
                return mounting.objection(self._kernel, self._store, action.after)
        return None

    def carry_out(self, action: Action) -> None:
        """Raises HostRefused."""
        match action.after, action.before:
            case Pages() as after, _:
                reserve(self._kernel, self._store, after)
            case Mount() as after, _:
                mounting.mount(self._kernel, self._store, after)
            case _, Pages(size=size):
                give_back(self._kernel, self._store, size)
            case _, Mount(path=path):
                mounting.unmount(self._kernel, self._store, path)


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


def pages_objection(kernel: Hugetlb, after: Pages) -> Refusal | None:
    """What would keep these pages from being reserved."""
    if after.size not in kernel.sizes():
        return check.no_such_size(after.size, kernel.sizes())
    pool = kernel.pool(after.size)
    return check.no_such_node(after, pool) or check.too_many(after, pool, kernel.available_bytes())


def reserve(kernel: Hugetlb, store: Store, after: Pages) -> None:
    """Makes the live pages what `after` says, which has no fewer than were found. Raises HostRefused when some are
    lacking or can't be given back yet; as many as possible are then done."""
    require(pages_objection(kernel, after))
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
