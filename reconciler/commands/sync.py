"""`vio4wd sync`: read all sources now."""

from __future__ import annotations

import argparse

NAME = "sync"
HELP = "have the watch read its file and all sources now; for hooks"
EPILOG = """\
Without it a Git repository is asked every interval_s seconds. It returns at once: vio4wd status says what came of it.

Examples:
  vio4wd sync
  echo 'exec ssh root@node1 vio4wd sync' > network.git/hooks/post-receive && chmod +x network.git/hooks/post-receive
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    del parser  # it has none


def execute(asked: argparse.Namespace) -> int:
    del asked
    from reconciler.terminal.output import complain, say
    from schema.paths import run_dir, sync_file
    from schema.system.locks import WATCH, is_held

    if not is_held(run_dir() / WATCH):
        complain(f"no watch runs on {run_dir()}, so there is nobody to read the sources; start it with: vio4wd run")
        return 1
    sync_file(run_dir()).touch()
    say("The watch reads its file and all sources now; vio4wd status says what comes of it.")
    return 0
