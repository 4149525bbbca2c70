"""This host's hugepages and their mounts, as resources."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from reconciler.host.refusal import PlanProblem, Refusal
from reconciler.memory import mounting, pages
from reconciler.memory.hugetlb import Hugetlb
from schema.model import Action, Mount, Pages
from state.store import StoreOnDemand


class HostMounts(StoreOnDemand):
    """Looks at them, and carries out what a plan wants of them."""

    def __init__(self, state_dir: Path, kernel: Hugetlb | None = None) -> None:
        super().__init__(state_dir)
        self._kernel = kernel or Hugetlb()

    def pages(self) -> dict[str, Pages]:
        """By size, those that there are."""
        return pages.observed(self._kernel, self._store)

    def mounts(self) -> dict[str, Mount]:
        """By path, whoever made them."""
        return mounting.observed(self._kernel, self._store)

    def objections(self, actions: Iterable[Action]) -> list[PlanProblem]:
        """What on this host will keep a plan's pages and mounts from being had, as it is now."""
        found = [(action.resource, self._objection(action)) for action in actions]
        return [PlanProblem(resource, why.message) for resource, why in found if why is not None]

    def _objection(self, action: Action) -> Refusal | None:
        match action.after:
            case Pages():
                return pages.objection(self._kernel, action.after)
            case Mount():
                return mounting.objection(self._kernel, self._store, action.after)
        return None

    def carry_out(self, action: Action) -> None:
        """Raises HostRefused."""
        match action.after, action.before:
            case Pages() as after, _:
                pages.reserve(self._kernel, self._store, after)
            case Mount() as after, _:
                mounting.mount(self._kernel, self._store, after)
            case _, Pages(size=size):
                pages.give_back(self._kernel, self._store, size)
            case _, Mount(path=path):
                mounting.unmount(self._kernel, self._store, path)
