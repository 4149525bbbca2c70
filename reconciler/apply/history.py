"""Applies in the history: the watch loop's, where a failure that repeats itself is entered once, and a person's."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace

from reconciler.apply.commit_confirmed import ApplyRequest
from reconciler.apply.outcome import Outcome, RelayOutcome, Verdict
from reconciler.apply.proposal import Proposal
from reconciler.apply.saved_plan import SavedPlan
from reconciler.planning.describe import Summary, summary
from schema.model import State
from state.applied import LastTarget
from state.history import record
from state.store import Store

LOG = logging.getLogger("vio4wd.watch")


class WatchHistory:
    """Remembers the last failure, so that it is known when it comes again."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._failure: tuple[str, ...] = ()
        self._id = 0

    @property
    def failing(self) -> bool:
        """Whether what was entered last did not work."""
        return bool(self._failure)

    def enter(self, saved: SavedPlan, outcome: Outcome, text: str, target: State) -> LastApply:
        """Writes down a plan and its outcome; `target` is the file's own part of that, `text` the spec's, empty
        when it is not that which was wanted. Gives what status says of it."""
        failed = outcome.verdict is not Verdict.APPLIED
        failure = (saved.sha256, *(step.message for step in outcome.steps)) if failed else ()
        whole = summary(planned.action for planned in saved.planned_actions)
        if not failed or failure != self._failure:
            _log(whole, outcome)
            self._id = record(
                self._store,
                who="watch",
                source=saved.file,
                sha256=saved.sha256,
                text=text,
                plan=replace(saved, states={}).to_json(),
                outcome=outcome.to_json(),
                target=target,
            )
        self._failure = failure
        return LastApply(self._id, time.time(), outcome.verdict.value, outcome.message, whole, outcome.relays)


def _log(whole: Summary, outcome: Outcome) -> None:
    level = logging.INFO if outcome.verdict in (Verdict.APPLIED, Verdict.RESTARTING) else logging.WARNING
    LOG.log(level, "%s: %s%s", outcome.verdict, whole, outcome.message and f"; {outcome.message}")
    for step in outcome.steps:
        if step.message:
            LOG.warning("%s %s %s: %s", step.action.verb, step.action.resource, step.ending, step.message)


def reached(found: Proposal, outcome: Outcome) -> LastTarget:
    """What is to be remembered of what was wanted, and of how far it came."""
    boots = {version.shard: version.boot_id for version in outcome.versions if version.boot_id is not None}
    differs = frozenset(ref for refs in outcome.left.values() for ref in refs)
    return LastTarget(found.target, found.protected, boots, differs)


def write_down(store: Store, order: ApplyRequest, saved: SavedPlan, outcome: Outcome, target: State) -> int:
    """Its number in the history; 0 when nothing was done and nothing held back. `target` is the file's own part."""
    if not outcome.steps and not outcome.held_back:
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


@dataclass(frozen=True, slots=True)
class LastApply:
    """The latest plan that was carried out."""

    id: int
    time: float
    verdict: str
    message: str
    summary: Summary
    relays: tuple[RelayOutcome, ...]
