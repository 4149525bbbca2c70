"""Since when each relay stands as it does: what the watch loop remembers from one look to the next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from reconciler.status.conditions import Condition, RelayStatus

Standings = Mapping[str, Mapping[str, Any]]
"""Relay id, as text, to `condition`, `message` and `since` in seconds since 1970."""


def standings(before: Standings, statuses: Iterable[RelayStatus], now: float) -> Standings:
    """As it is now. A relay whose condition is the word that it was keeps its time, also when the reason is another."""
    found: dict[str, dict[str, Any]] = {}
    for status in statuses:
        known = before.get(str(status.id), {})
        same = known.get("condition") == status.condition.value
        since = known["since"] if same else now
        found[str(status.id)] = {"condition": status.condition.value, "message": status.message, "since": since}
    return found


def with_since(statuses: Iterable[RelayStatus], found: Standings) -> list[RelayStatus]:
    """The statuses with the time of those that stand as the watch has seen them."""
    return [
        replace(status, since=found[str(status.id)]["since"])
        if found.get(str(status.id), {}).get("condition") == status.condition.value
        else status
        for status in statuses
    ]


def counted(found: Standings) -> str:
    """How many stand how, in a few words: `3 Ready, 1 Degraded`."""
    words = [standing["condition"] for standing in found.values()]
    parts = [f"{words.count(each)} {each}" for each in Condition if each.value in words]
    return ", ".join(parts) or "no relays"
