"""`vio4wd history`: what was applied."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from reconciler.commands.common import count, json_argument

NAME = "history"
HELP = "list what was applied: when, by whom, from which file, and how it ended"
EPILOG = """\
Examples:
  vio4wd history
  vio4wd history --limit 1 --json | jq '.applies[0].plan.changes'
"""
SHOWN_ACTIONS = 6


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--limit", metavar="N", type=count, default=20, help="the latest N (default: 20; 0: all)")
    json_argument(parser)


def execute(asked: argparse.Namespace) -> int:
    from reconciler.output import clock, complain, emit, say, table
    from schema.paths import state_dir
    from state.history import KEPT, entries
    from state.store import Store

    store = Store(state_dir())
    applies = entries(store, asked.limit or KEPT)
    store.close()
    if store.fault:
        complain(store.fault)
    if asked.json:
        emit({"applies": [applied.to_json() for applied in applies], "fault": store.fault})
    elif applies:
        rows = [[str(a.id), clock(a.time), a.who, str(a.outcome["verdict"]), a.source, _what(a.plan)] for a in applies]
        table(("ID", "TIME", "WHO", "VERDICT", "FROM", "WHAT"), rows)
    else:
        say("Nothing was applied yet.")
    return 1 if store.fault else 0


def _what(plan: Mapping[str, Any]) -> str:
    from reconciler.render import SYMBOLS
    from schema.model import Verb

    changes = plan.get("changes", [])
    telling = changes if len(changes) <= SHOWN_ACTIONS else [c for c in changes if c["kind"] not in ("port", "socket")]
    words = [f"{SYMBOLS[Verb(c['action'])]} {c['resource']}" for c in telling[:SHOWN_ACTIONS]]
    more = len(changes) - len(words)
    return ", ".join(words) + (f", and {more} more" if more else "")
