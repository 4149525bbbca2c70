"""A plan in five words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from schema.model import Action, Impact, Verb


@dataclass(frozen=True, slots=True)
class Summary:
    """How many actions of which sort, and what they cost."""

    add: int
    change: int
    remove: int
    migrate: int
    impact: Impact

    def __str__(self) -> str:
        return (
            f"{self.add} to add, {self.change} to change, {self.remove} to remove, {self.migrate} to migrate "
            f"(impact: {self.impact})"
        )


def summary(actions: Iterable[Action]) -> Summary:
    """How many actions of which sort, and what the dearest of them costs."""
    todo = list(actions)
    verbs = [action.verb for action in todo]
    rank = list(Impact)
    worst = max((rank.index(action.impact) for action in todo), default=0)
    return Summary(
        add=verbs.count(Verb.ADD),
        change=verbs.count(Verb.UPDATE) + verbs.count(Verb.REPLACE),
        remove=verbs.count(Verb.REMOVE),
        migrate=verbs.count(Verb.MIGRATE),
        impact=rank[worst],
    )
