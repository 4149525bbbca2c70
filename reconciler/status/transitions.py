"""Since when each relay stands as it does: what the watch loop remembers from one look to the next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from reconciler.status.conditions import Condition, RelayStatus
from reconciler.status.report import Standing

Standings = Mapping[int, Standing]
"""By relay id."""


def standings(before: Standings, statuses: Iterable[RelayStatus], now: float) -> Standings:
    """As it is now. A relay whose condition is the word that it was keeps its time, also when the reason is another."""
    found = {}
    for status in statuses:
        since = _since(before.get(status.id), status)
        found[status.id] = Standing(status.condition.value, status.message, now if since is None else since)
    return found


def with_since(statuses: Iterable[RelayStatus], found: Standings) -> list[RelayStatus]:
    """The statuses with the time of those that stand as the watch has seen them."""
    return [replace(status, since=_since(found.get(status.id), status)) for status in statuses]


def _since(known: Standing | None, status: RelayStatus) -> float | None:
    """None: it stood otherwise, or nobody knows how."""
    return known.since if known is not None and known.condition == status.condition else None


def counted(found: Standings) -> str:
    """How many stand how, in a few words: `3 Ready, 1 Degraded`."""
    words = [standing.condition for standing in found.values()]
    parts = [f"{words.count(each)} {each}" for each in Condition if each.value in words]
    return ", ".join(parts) or "no relays"
