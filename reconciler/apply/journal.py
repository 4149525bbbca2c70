"""Writes an apply down: who, what, when, from which spec, and how it ended."""

from __future__ import annotations

from dataclasses import replace

from reconciler.apply.commit_confirmed import Order
from reconciler.apply.outcome import Outcome
from reconciler.apply.saved_plan import SavedPlan
from schema.model import State
from state.history import record
from state.store import Store


def write_down(store: Store, order: Order, saved: SavedPlan, outcome: Outcome, target: State) -> int:
    """Its number in the history; 0 when nothing was done and nothing held back. `target` is the file's own part."""
    if not outcome.steps and not outcome.held:
        return 0
    return record(
        store,
        who=order.who,
        source=order.source,
        sha256=order.sha256,
        text=order.text,
        plan=replace(saved, states={}).to_json(),
        outcome=outcome.to_json(),
        target=target,
    )
