"""`vio4wd show`: what does a kept plan do?"""

from __future__ import annotations

import argparse
from pathlib import Path

from reconciler.terminal.arguments import at_once, json_argument

NAME = "show"
HELP = "show a plan that was kept with plan -o: what it does, for which engine, and until when it is good"
EPILOG = """\
Nothing is asked of an engine; whether the plan still fits is found out by apply.

Examples:
  vio4wd show today.plan
  vio4wd show --json today.plan | jq .summary
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("plan", metavar="PLAN", type=Path, help="the plan")
    json_argument(parser)


def execute(asked: argparse.Namespace) -> int:
    import time

    from reconciler.apply.saved_plan import parse_plan, read_plan
    from reconciler.terminal.output import clock, emit, say
    from reconciler.terminal.plan_text import show

    place = at_once(asked.plan)
    through = place.stream
    saved = read_plan(place.path) if through is None else parse_plan(through.decode(errors="replace"), str(place))
    if asked.json:
        emit(saved.to_json())
        return 0
    good = "good until" if time.time() <= saved.expires else "too old since"
    origin = f"{saved.file} (sha256 {saved.sha256[:12]})"
    say(f"Made {clock(saved.made)} of {origin}, {good} {clock(saved.expires)}.")
    for version in saved.versions:
        engine = f"boot id {version.boot_id}, generation {version.generation}" if version.boot_id else "to be started"
        say(f"For shard {version.shard}: {engine}.")
    say()
    show(saved)
    return 0
