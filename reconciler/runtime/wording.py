"""One relay, two relays: counts in sentences."""

from __future__ import annotations


def number_of(count: int, what: str) -> str:
    """`1 relay`, `3 relays`; `what` is the word for one."""
    return f"{count} {what}{'' if count == 1 else 's'}"
