"""What is kept goes when there is too much of it, what was used longest ago first."""

from __future__ import annotations

import pytest

from schema.loading import loader as kept
from schema.loading.loader import Kept


def test_what_was_used_longest_ago_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MAX_VALUES", 10)
    store: Kept[str, str] = Kept()
    for key in "abc":
        store.put(key, key.upper(), 4, 1)
        store.get("a")
    assert [store.get(key) for key in "abc"] == ["A", None, "C"]
    store.put("large", "L", 11, 1)
    assert [store.get(key) for key in ("a", "c", "large")] == [None, None, None]


def test_bytes_count_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MAX_BYTES", 10)
    store: Kept[str, str] = Kept()
    for key in "abc":
        store.put(key, key.upper(), 1, 4)
    assert [store.get(key) for key in "abc"] == [None, "B", "C"]
