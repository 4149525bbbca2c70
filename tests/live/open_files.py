"""What an engine has open, apart from the pages of DPDK's own memory: each is a descriptor, and they come and go with
guests' rings."""

from __future__ import annotations

import re
from collections import Counter

from tests.kit.topology import descriptors
from tests.kit.waiting import WaitTimeoutError, wait_for

OWN_MEMORY = "/memfd:seg_"
OWN_PAGES = 8
"""So many more there may be: what is allocated last may hold a page of 2 MiB."""


class Opened:
    """What a process had open when this was made."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._before, self._pages = self._found()

    def _found(self) -> tuple[Counter[str], int]:
        """How many of each kind, such as `socket` and `anon_inode:[eventfd]`, and how many pages."""
        found = descriptors(self._pid)
        others = [each for each in found if not each.startswith(OWN_MEMORY)]
        return Counter(re.sub(r":\[\d+\]$", "", each) for each in others), len(found) - len(others)

    def check_given_back(self) -> None:
        """Waits until nothing else is open. Raises AssertionError with what is."""
        try:
            wait_for("its descriptors back", lambda: not self._found()[0] - self._before)
        except WaitTimeoutError as error:
            raise AssertionError(f"left open: {self._found()[0] - self._before}") from error
        assert self._found()[1] <= self._pages + OWN_PAGES
