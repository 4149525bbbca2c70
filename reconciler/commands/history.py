"""`vio4wd history`: what was applied."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from reconciler.terminal.arguments import count, json_argument

if TYPE_CHECKING:
    from state.history import Applied, PastPlan
    from state.store import Store

NAME = "history"
HELP = "list what was applied: when, by whom, from which file, and how it ended; or show one apply whole"
EPILOG = """\
Examples:
  vio4wd history
  vio4wd history show 12          its plan, what became of each action, and the spec
  vio4wd history --limit 1 --json | jq '.applies[0].plan.changes'
"""
SHOWN_ACTIONS = 6


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("show", choices=("show",), nargs="?", help="show one apply whole")
    parser.add_argument("number", metavar="N", type=count, nargs="?", help="its ID")
    parser.add_argument("--limit", metavar="N", type=count, default=20, help="the latest N (default: 20; 0: all)")
    json_argument(parser)


def execute(asked: argparse.Namespace) -> int:
    from reconciler.terminal.output import complain, emit
    from schema.paths import state_dir
    from state.history import KEPT, entries
    from state.store import Store

    store = Store(state_dir())
    applies = entries(store, asked.limit or KEPT)
    if asked.show:
        return _one(asked, store)
    store.close()
    if store.fault:
        complain(store.fault)
    if asked.json:
        emit({"applies": [applied.to_json() for applied in applies], "fault": store.fault})
    else:
        _list(applies)
    return 1 if store.fault else 0


def _list(applies: list[Applied]) -> None:
    from reconciler.terminal.output import clock, say, table

    if not applies:
        say("Nothing was applied yet.")
        return
    rows = [
        [str(each.id), clock(each.time), each.who, each.ended.verdict, each.source, _what(each.planned)]
        for each in applies
    ]
    table(("ID", "TIME", "WHO", "VERDICT", "FROM", "WHAT"), rows)


def _one(asked: argparse.Namespace, store: Store) -> int:
    from reconciler.terminal.output import emit, refuse
    from state.history import KEPT, entries, spec_text

    found = [entry for entry in entries(store, KEPT) if entry.id == asked.number]
    text = spec_text(store, found[0].sha256) if found else ""
    store.close()
    if not found:
        which = asked.number if asked.number is not None else "without a number"
        refuse(f"The history has no apply {which}; vio4wd history lists what it has.", asked.json)
        return 1
    if asked.json:
        emit({**found[0].to_json(), "spec": text})
    else:
        _show(found[0], text)
    return 0


def _show(entry: Applied, text: str) -> None:
    """Who, what, when; the plan; what did not work; the spec."""
    from reconciler.apply.saved_plan import plan_of
    from reconciler.terminal.output import clock, say
    from reconciler.terminal.plan_text import show

    ended = entry.ended
    say(f"Apply {entry.id}, {clock(entry.time)}, by {entry.who}, from {entry.source} (sha256 {entry.sha256[:12]})")
    say(f"Ended as {ended.verdict}{ended.message and ': '}{ended.message}")
    say()
    saved = plan_of(entry.plan, f"apply {entry.id}")
    show(saved)
    for step in ended.steps:
        if step.ending != "done":
            say(f"{step.action} {step.resource}: {step.ending}: {step.message}", "bad")
    if text:
        say(f"\nThe spec:\n{text.rstrip()}")


def _what(plan: PastPlan) -> str:
    from reconciler.terminal.plan_text import SYMBOLS
    from schema.model import Verb

    changes = plan.changes
    telling = changes if len(changes) <= SHOWN_ACTIONS else [c for c in changes if c.kind not in ("port", "socket")]
    words = [f"{SYMBOLS[Verb(each.action)]} {each.resource}" for each in telling[:SHOWN_ACTIONS]]
    more = len(changes) - len(words)
    return ", ".join(words) + (f", and {more} more" if more else "")
