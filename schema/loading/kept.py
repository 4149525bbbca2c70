"""Results that are likely to be asked for again, as many as fit into a bound on their size."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

MAX_VALUES = 40_000
"""Of all that is kept; a value of a document takes some 300 bytes."""
MAX_BYTES = 8 * 1024 * 1024

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Kept(Generic[K, V]):
    """By key; what was used longest ago goes first. May be used from any thread."""

    def __init__(self) -> None:
        self._entries: OrderedDict[K, tuple[V, int, int]] = OrderedDict()
        self._values = self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: K) -> V | None:
        with self._lock:
            if key not in self._entries:
                return None
            self._entries.move_to_end(key)
            return self._entries[key][0]

    def put(self, key: K, value: V, values: int, size_bytes: int) -> None:
        """With the size that it has."""
        with self._lock:
            if key in self._entries:
                return
            self._entries[key] = value, values, size_bytes
            self._values += values
            self._bytes += size_bytes
            while self._values > MAX_VALUES or self._bytes > MAX_BYTES:
                _, (_, values, size_bytes) = self._entries.popitem(last=False)
                self._values -= values
                self._bytes -= size_bytes
