"""`vio4wd plan`: what would applying the file do?"""

from __future__ import annotations

import argparse
from pathlib import Path

from reconciler.terminal.arguments import (
    allow_destroy_argument,
    duration,
    file_argument,
    json_argument,
    once,
    target_argument,
)

NAME = "plan"
DAY_S = 24 * 3600.0
EXPIRES_HELP = "until when a kept plan may be carried out: 30m, 12h, 7d (default: 24h)"
HELP = "show what applying a file would do, and what that costs whom"
EPILOG = """\
  +  add     -  remove     ~  change in place     -/+  take down and set up again     >  migrate to other CPUs

Impact, from least to most: none; relay (that relay's traffic stops for a moment, or for good when it is removed);
guest (the guest sees its link go); host (every relay is interrupted). Below a new process stands what follows on it.
With - the spec is read from standard input; a pipe will do as well.

Examples:
  vio4wd plan vio4wd.yaml
  vio4wd plan -o today.plan vio4wd.yaml && vio4wd apply today.plan
  vio4wd plan --detailed-exitcode vio4wd.yaml     exit code 0: nothing to do, 2: changes, 1: error,
                                                  or some of it will not work on this host as it is now
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    file_argument(parser)
    parser.add_argument("-o", "--out", metavar="PLAN", type=Path, help="keep the plan in a file, for apply")
    parser.add_argument("--detailed-exitcode", action="store_true", help="exit with 2 when there is something to do")
    parser.add_argument("--expires", metavar="T", type=duration, default=DAY_S, help=EXPIRES_HELP)
    target_argument(parser)
    allow_destroy_argument(parser)
    json_argument(parser)


def execute(asked: argparse.Namespace) -> int:
    import json

    from reconciler.status.preview import preview
    from reconciler.terminal.output import complain, emit, say
    from reconciler.terminal.plan_text import show
    from schema.paths import run_dir, state_dir
    from schema.system.files import write_named
    from schema.system.logs import holds_token

    dirs = run_dir(), state_dir()
    found = preview(once(asked), dirs, complain, asked.expires, asked.allow_destroy, asked.target)
    saved = found.saved
    if asked.out is not None:
        text = json.dumps(saved.to_json(), indent=2) + "\n"
        write_named(asked.out, text, secret=holds_token(text))
    if asked.json:
        emit(saved.to_json())
    else:
        show(saved, found.missing)
        if asked.out is not None:
            say(f"Kept in {asked.out}; carry it out with: vio4wd apply {asked.out}")
    for remark in found.remarks:
        complain(remark)
    if not asked.detailed_exitcode:
        return 0
    return 1 if saved.problems else 2 if saved.planned_actions else 0
