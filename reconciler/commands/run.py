"""`vio4wd run`: engine and watch loop together."""

from __future__ import annotations

import argparse

from reconciler.terminal.arguments import file_argument, local

NAME = "run"
HELP = "start the engine and keep it as a file says, until Ctrl-C or SIGTERM"
EPILOG = """\
Saving the file is applying it. An invalid, empty or missing file changes nothing: see vio4wd status.
Engine and watch loop are processes of their own; each is started again when it dies, without disturbing the other.

Examples:
  vio4wd run vio4wd.yaml
  vio4wd run --defaults     straight from virtio-forwarder's /etc/default/virtioforwarder
  VIO4WD_RUN_DIR=/tmp/a VIO4WD_STATE_DIR=/tmp/b vio4wd run vio4wd.yaml     beside another instance
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    file_argument(parser)


def execute(asked: argparse.Namespace) -> int:
    from reconciler.terminal.output import complain
    from reconciler.watch.only_run import RunsAlready
    from reconciler.watch.supervisor import run
    from schema.system.logs import log_to_stderr

    log_to_stderr()
    try:
        return run(local(asked))
    except RunsAlready as reason:
        complain(str(reason))
        return 1
