"""`vio4wd rollback`: back to how an earlier apply left things."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from reconciler.terminal.arguments import allow_destroy_argument, count, json_argument, positive

if TYPE_CHECKING:
    from reconciler.apply.saved_plan import SavedPlan
    from reconciler.observe.engines import Engines
    from schema.model import State
    from state.history import Applied
    from state.store import Store

NAME = "rollback"
HELP = "go back to how an earlier apply of the history left things"
EPILOG = """\
Without N: to the latest state that differs from what was applied last. It is a plan like any other: shown, and carried
out once you say so, or with --yes. It concerns the file's relays; those of other owners stay as they are. The spec's
file is not touched; the watch loop keeps to the rollback until the content of the file changes, or somebody applies it.

Examples:
  vio4wd history
  vio4wd rollback
  vio4wd rollback 12 --yes
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("number", metavar="N", type=count, nargs="?", help="the apply's ID in vio4wd history")
    parser.add_argument("--yes", action="store_true", help="carry it out without asking")
    wait_help = "wait this long for an engine that starts (default: 60)"
    parser.add_argument("--wait", metavar="S", type=positive, default=60.0, help=wait_help)
    allow_destroy_argument(parser)
    json_argument(parser)


def execute(asked: argparse.Namespace) -> int:
    from reconciler.apply.commit_confirmed import ApplyRequest
    from reconciler.commands.apply import carried_out, conclude
    from reconciler.observe.engines import Engines
    from reconciler.terminal.arguments import asking
    from reconciler.terminal.output import refuse, say
    from schema.paths import run_dir, state_dir
    from state.store import Store

    store = Store(state_dir())
    entry = _entry(store, asked.number)
    if entry is None:
        why = store.fault or "There is no such state in the history; vio4wd history lists what there is."
        refuse(why, asked.json)
        return 1
    with Engines(run_dir(), state_dir()) as engines:
        saved = _plan(asked, store, entry, engines)
        if saved.planned_actions and not (asked.yes or _agreed(asked, saved)):
            return 1
        instead_of = _in_force(store, entry.sha256)
        order = ApplyRequest(asking(), saved.file, entry.sha256, instead_of=instead_of)
        outcome = carried_out(asked, engines, store, lambda applier: applier.apply_saved(saved, order))
    code = conclude(asked, outcome, saved.file)
    if instead_of and code == 0 and not asked.json and not store.fault:
        say(f"This holds until the content of the spec changes (sha256 {instead_of[:12]} is left out until then).")
    return code


def _entry(store: Store, number: int | None) -> Applied | None:
    """The apply to go back to; None when there is none, or it did not reach a state."""
    from reconciler.policy.relay_subsets import files_own, others_of
    from state.applied import last_target
    from state.history import KEPT, entries, target_of
    from state.relay_requests import requests

    last = last_target(store)
    current = files_own(last.state, others_of(last.state, requests(store))) if last is not None else None
    applies = entries(store, KEPT)
    for entry in _lasting(applies) if number is None else applies:
        if number not in (None, entry.id) or entry.ended.verdict != "applied":
            continue
        target = target_of(store, entry.id)
        if target is not None and (number is not None or current is None or _differ(target, current)):
            return entry
    return None


def _lasting(applies: Iterable[Applied]) -> Iterator[Applied]:
    """Those, the newest first, that were not rolled back afterwards."""
    from reconciler.apply.commit_confirmed import UNDOING

    undone: set[tuple[str, str]] = set()
    for entry in applies:
        mark = entry.source, entry.sha256
        if mark in undone:
            undone.remove(mark)
            continue
        if entry.source.startswith(UNDOING):
            undone.add((entry.source.removeprefix(UNDOING), entry.sha256))
        yield entry


def _differ(wanted: State, live: State) -> bool:
    """Whether it takes anything to make the one of the other."""
    from reconciler.observe.diff import difference
    from schema.model import Kind

    found = [difference(wanted.resources(kind), live.resources(kind)) for kind in Kind]
    return any(each.added or each.removed or each.changed for each in found)


def _plan(asked: argparse.Namespace, store: Store, entry: Applied, engines: Engines) -> SavedPlan:
    """The plan, which is shown."""
    from reconciler.apply.proposal import Intent, proposed
    from reconciler.host.host import ThisHost
    from reconciler.planning.host_plan import as_desired
    from reconciler.policy.relay_subsets import others_of, owners_of, with_others
    from reconciler.policy.removal_guards import Policy, relay_ids
    from reconciler.status.preview import VALID_S, looking_at
    from reconciler.terminal.plan_text import show
    from state.applied import last_target
    from state.history import target_of
    from state.relay_requests import requests

    target, last = target_of(store, entry.id), last_target(store)
    assert target is not None
    protected = (last.protected if last is not None else frozenset()) & target.relays.keys()
    policy = Policy(protected, relay_ids(asked.allow_destroy))
    snapshot = engines.observe_any()
    live = as_desired(snapshot.states.values())
    asked_for = requests(store)
    others = others_of(live, asked_for)
    intent = Intent(
        f"apply {entry.id}",
        entry.sha256,
        with_others(target, live, others),
        policy,
        owners_of(asked_for, others),
        last,
        valid_s=VALID_S,
    )
    saved = proposed(intent, snapshot, ThisHost(), looking_at(engines)).saved
    if not asked.json and (saved.planned_actions or saved.held_back or saved.problems):
        show(saved)
    return saved


def _agreed(asked: argparse.Namespace, saved: SavedPlan) -> bool:
    from reconciler.terminal.output import refuse

    if asked.json or not sys.stdin.isatty():
        why = "Nothing was done: there is no terminal to ask on; add --yes to carry the plan out."
        refuse(why, asked.json, plan=saved.to_json())
        return False
    return input("Carry this out? [y/N] ").strip().lower() in ("y", "yes")


def _in_force(store: Store, sha256: str) -> str:
    """The content that would undo it: what the watch loop keeps, else what was applied last; empty when that is what
    the state to go back to was made from."""
    from reconciler.status.report import read_report
    from schema.paths import run_dir
    from state.history import entries

    report = read_report(run_dir())
    if report is not None and report.in_force is not None:
        current = report.in_force.sha256
    else:
        current = next((entry.sha256 for entry in entries(store, 1)), "")
    return current if current != sha256 else ""
