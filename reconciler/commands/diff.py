"""`vio4wd diff`: what would change from one file to another?"""

from __future__ import annotations

import argparse
from pathlib import Path

from reconciler.terminal.arguments import at_once, json_argument

NAME = "diff"
HELP = "show what applying a file would do where another is in force, without an engine"
EPILOG = """\
It is the plan from one to the other, on engines that are exactly as the first file wants them. CPUs, users and groups
need not be on this host. Guards are not asked: who has a guest is not known here.

Examples:
  vio4wd diff old.yaml new.yaml
  vio4wd diff --detailed-exitcode old.yaml new.yaml     exit code 0: no difference, 2: changes, 1: error
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("before", metavar="FILE1", type=Path, help="the spec that is in force")
    parser.add_argument("after", metavar="FILE2", type=Path, help="the spec that would be applied")
    parser.add_argument("--detailed-exitcode", action="store_true", help="exit with 2 when there is something to do")
    json_argument(parser)


def execute(asked: argparse.Namespace) -> int:
    from reconciler.status.preview import difference
    from reconciler.terminal.output import emit
    from reconciler.terminal.plan_text import show

    saved = difference(at_once(asked.before), at_once(asked.after))
    if asked.json:
        emit(saved.to_json())
    else:
        show(saved)
    return 2 if asked.detailed_exitcode and saved.planned_actions else 0
