"""`vio4wd resume`: the watch loop goes on."""

from __future__ import annotations

import argparse

from reconciler.terminal.arguments import json_argument

NAME = "resume"
HELP = "have a paused watch loop go on"
EPILOG = """\
Examples:
  vio4wd plan vio4wd.yaml      what will it change then?
  vio4wd resume
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    json_argument(parser)


def execute(asked: argparse.Namespace) -> int:
    from dataclasses import asdict

    from reconciler.policy.pause import end_pause
    from reconciler.terminal.output import clock, emit, say
    from schema.paths import state_dir

    pause = end_pause(state_dir())
    if asked.json:
        emit(asdict(pause) if pause is not None else None)
    elif pause is None:
        say("Nothing to resume: it was not paused.")
    else:
        why = f": {pause.reason}" if pause.reason else ""
        say(f"Resumed. It was paused by {pause.who} on {clock(pause.since)}{why}")
    return 0
