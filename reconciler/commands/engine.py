"""`vio4wd engine`: the data plane alone."""

from __future__ import annotations

import argparse

from reconciler.terminal.arguments import count

NAME = "engine"
HELP = "run the data plane alone; it starts without relays and does as watch or apply tell it"
EPILOG = """\
It takes its start-up parameters from engine-N.json in $VIO4WD_STATE_DIR, which watch and apply write.

`vio4wd run` starts as many as the spec needs; without it, watch and status say which one is missing.

Examples:
  vio4wd engine
  vio4wd engine --shard 1     when one process has not enough ports for all relays
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--shard", metavar="N", type=count, default=0, help="which engine process (default: 0)")


def execute(asked: argparse.Namespace) -> int:
    from engine.process import main as engine_main
    from schema.paths import run_dir, state_dir

    return engine_main(asked.shard, run_dir(), state_dir())
