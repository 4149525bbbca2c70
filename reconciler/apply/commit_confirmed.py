"""An apply that can be undone: when it does not work, or when nobody confirms it in time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from reconciler.apply.outcome import Outcome, Verdict
from reconciler.policy.relay_subsets import files_own
from state.applied import (
    LastTarget,
    Pending,
    Phase,
    RollbackHold,
    current_pending,
    forget,
    keep_hold,
    keep_target,
    wait,
)
from state.store import Store

LOOK_S = 0.25
UNDOING = "rollback of "
"""In the history, before the source of the apply that was undone."""


class Unconfirmed(Exception):  # noqa: N818 - a state, not a fault
    """Another apply waits to be confirmed, or can't be rolled back yet; nothing else is applied before that."""


@dataclass(frozen=True, slots=True)
class ApplyRequest:
    """What is applied, for whom, and what becomes of it when it does not work."""

    who: str
    source: str
    """The file of the spec, or of the plan."""
    sha256: str
    """Of the spec."""
    text: str = ""
    """The spec, where it is known."""
    rollback: bool = False
    """Whether everything is as before when some of it did not work."""
    confirm_s: float = 0.0
    """How long to wait to be confirmed; 0: it counts at once."""
    instead_of: str = ""
    """The sha256 of the content that is not carried out from now on; empty: none."""
    becoming: Becoming | None = None
    """What a watched file is to say once this is confirmed."""
    owners: Mapping[int, str] = field(default_factory=dict)
    """Of the relays that are not the file's."""

    @property
    def undoable(self) -> bool:
        return self.rollback or self.confirm_s > 0


def undone(store: Store, pending: Pending, outcome: Outcome) -> None:
    """What was live before is live again: it stays, and the content that was rolled back is not tried again, nor what
    was not to be tried before."""
    reason = f"it was rolled back: {pending.reason}"
    own = files_own(pending.before, pending.others)
    keep_hold(store, RollbackHold(pending.on_hold | {pending.sha256}, own, reason, time.time(), pending.protected))
    boots = {version.shard: version.boot_id for version in outcome.versions if version.boot_id is not None}
    keep_target(store, LastTarget(pending.before, pending.protected, boots))
    forget(store, pending)


def waited(store: Store, pending: Pending, outcome: Outcome, boots: Callable[[], dict[int, str]]) -> str:
    """Waits until it is confirmed (empty), or has to be undone, and why. `boots` are the engines that answer."""
    on = {version.shard: version.boot_id for version in outcome.versions if version.boot_id is not None}
    wait(store, pending, time.time() + pending.confirm_s, on)
    while True:
        now = current_pending(store)
        if now is None or now.token != pending.token:
            return ""
        why = now.due(time.time(), boots())
        if why:
            return why
        time.sleep(LOOK_S)


def waiting_words(pending: Pending) -> str:
    """That an apply waits to be confirmed, and until when."""
    until = time.strftime("%H:%M:%S", time.localtime(pending.deadline))
    what = f"{pending.source}, applied by {pending.who},"
    return f"{what} is rolled back at {until} unless this comes before: vio4wd confirm"


def left_words(pending: Pending) -> str:
    """How it stands with an apply that is not at its end."""
    if pending.phase is Phase.WAITING:
        return waiting_words(pending)
    doing = "is being applied" if pending.phase is Phase.APPLYING else f"is being rolled back: {pending.reason};"
    return f"{pending.source} {doing} by {pending.who}, or by the next who can if that was interrupted"


def refuse_unconfirmed(pending: Pending | None, why: str) -> None:
    """Raises Unconfirmed while it may still be confirmed."""
    if pending is not None and not why:
        raise Unconfirmed(f"{waiting_words(pending)}; nothing else is applied until then")


def refuse_unfinished(pending: Pending, outcome: Outcome) -> None:
    """Raises Unconfirmed when the rollback did not come to its end."""
    if outcome.verdict is not Verdict.APPLIED:
        raise Unconfirmed(
            f"{pending.source} could not be rolled back yet ({outcome.message}); vio4wd watch, or the next command "
            "that applies, tries it again"
        )


@dataclass(frozen=True, slots=True)
class Becoming:
    """What the watched file is to say once an apply is confirmed."""

    file: str
    text: str
    was: str
    """The sha256 of what it says now; another by then is somebody else's change."""
