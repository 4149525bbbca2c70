"""`vio4wd pause`: the watch loop changes nothing until it is resumed."""

from __future__ import annotations

import argparse

from reconciler.terminal.arguments import json_argument

NAME = "pause"
HELP = "have the watch loop change nothing until vio4wd resume, also across restarts and reboots"
EPILOG = """\
When it returns, what was being applied has ended, and nothing more is changed. Files and other sources go on being
read, and status shows what would be changed. An engine that ends meanwhile is started again by run or systemd, but
stays empty until resume. vio4wd apply works as ever.

Examples:
  vio4wd pause "the switch is being replaced"
  vio4wd status
  vio4wd resume
"""
LOCK_WAIT_S = 60.0


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("reason", metavar="REASON", nargs="?", default="", help="why, for others to read in status")
    json_argument(parser)


def execute(asked: argparse.Namespace) -> int:
    from dataclasses import asdict

    from reconciler.policy.pause import put_pause
    from reconciler.terminal.arguments import asking
    from reconciler.terminal.output import emit, say
    from schema.paths import run_dir, state_dir
    from schema.system.locks import APPLY, locked

    with locked(run_dir() / APPLY, LOCK_WAIT_S):
        pause = put_pause(state_dir(), asking(), asked.reason)
    if asked.json:
        emit(asdict(pause))
    else:
        say("Paused: the watch loop changes nothing until vio4wd resume.")
    return 0
