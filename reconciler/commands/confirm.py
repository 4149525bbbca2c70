"""`vio4wd confirm`: what apply --confirm applied is to stay."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from reconciler.terminal.arguments import positive

if TYPE_CHECKING:
    from reconciler.observe.engines import Engines
    from state.applied import Pending
    from state.store import Store

NAME = "confirm"
HELP = "commit a pending apply --confirm before its timer rolls it back"
EPILOG = """\
Where a watch kept another file than the one that was applied, that file says it from now on.
Exit code 1 when nothing waits to be confirmed, or when it is too late: then it is rolled back, or was already.

Examples:
  vio4wd apply --confirm 60s vio4wd.yaml &
  vio4wd confirm
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    wait_help = "when it is too late: wait this long for an engine that starts (default: 60)"
    parser.add_argument("--wait", metavar="S", type=positive, default=60.0, help=wait_help)


def execute(asked: argparse.Namespace) -> int:
    import time

    from reconciler.observe.engines import Engines
    from reconciler.terminal.output import complain
    from schema.paths import run_dir, state_dir
    from state.applied import Phase, current_pending
    from state.store import Store

    store = Store(state_dir())
    left = current_pending(store)
    if left is None:
        complain("Nothing waits to be confirmed.")
        return 1
    with Engines(run_dir(), state_dir()) as engines:
        boots = {shard: hello.boot_id for shard, hello in engines.ping().items()}
        why = left.due(time.time(), boots)
        if not why:
            code = _confirm(left, store)
            if code is not None:
                return code
        if left.phase is Phase.APPLYING and _busy():
            complain(f"{left.source} is still being applied by {left.who}; confirm it when that has ended.")
            return 1
        complain(f"Too late: {why or 'its time is over'}. It is rolled back.")
        return _roll_back(engines, store, asked.wait)


def _confirm(left: Pending, store: Store) -> int | None:
    """None: it is too late. The file comes first: as long as the apply waits, a watch changes nothing, and afterwards
    it makes live what it has read."""
    import time

    from reconciler.status.watched import Placed, put_in_place, take_out_again
    from reconciler.terminal.output import complain
    from schema.paths import run_dir
    from state.applied import confirm

    placed = put_in_place(left, run_dir()) if left.file else Placed()
    if placed.problem:
        complain(f"Not confirmed: {placed.problem}.")
        return 1
    if confirm(store, left, time.time()):
        return _confirmed(left, store.fault)
    if left.file:
        take_out_again(left, placed.before)
    return None


def _confirmed(left: Pending, fault: str | None) -> int:
    """What is written to memory only, nobody else sees."""
    from reconciler.terminal.output import complain, say

    if fault:
        complain(f"{fault}\nso it could not be confirmed: try again, or it is rolled back when its time is over")
        return 1
    where = f", and is what {left.file} says now" if left.file else ""
    say(f"Confirmed: {left.source}, applied by {left.who}, stays{where}.", "good")
    _warn(left)
    return 0


def _busy() -> bool:
    from schema.paths import run_dir
    from schema.system.locks import APPLY, is_held

    return is_held(run_dir() / APPLY)


def _roll_back(engines: Engines, store: Store, wait_s: float) -> int:
    """Unless somebody is at it, who does it then."""
    from reconciler.apply.converge import Converger
    from reconciler.apply.transaction import ApplyTransaction
    from reconciler.host.host import ThisHost
    from reconciler.terminal.output import complain

    if not _busy():
        ApplyTransaction(Converger(engines, wait_s, complain), store, ThisHost()).clear()
    return 1


def _warn(left: Pending) -> None:
    """A watch that keeps another content would take it back."""
    from reconciler.status.report import read_report
    from reconciler.terminal.output import complain
    from schema.paths import run_dir
    from schema.system.locks import WATCH, is_held

    report = read_report(run_dir()) if not left.file and is_held(run_dir() / WATCH) else None
    force = report.in_force if report is not None else None
    if force is not None and force.sha256 != left.sha256:
        file = force.file
        complain(f"The watch loop keeps {file}, which says something else: save this spec there, or it is undone.")
