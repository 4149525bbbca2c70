"""`vio4wd watch`: the reconcile loop alone."""

from __future__ import annotations

import argparse

from reconciler.terminal.arguments import file_argument, local

NAME = "watch"
COMMANDS_ALONE = ("reconciler.commands.", "reconciler.legacy.clients", "reconciler._")
"""What the loop has no use for."""
HELP = "keep a running engine as a file says (the engine goes on without it)"
EPILOG = """\
Examples:
  vio4wd engine & vio4wd watch vio4wd.yaml     the two parts of vio4wd run, apart
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    file_argument(parser)


def execute(asked: argparse.Namespace) -> int:
    import signal

    from schema.system.signals import obey

    heard: list[signal.Signals] = []
    obey(heard.append)  # before what takes its time: who is told to end while it starts ends in order too
    from reconciler.host.host import ThisHost
    from reconciler.terminal.output import complain
    from reconciler.watch.controller import Controller
    from schema.paths import run_dir, state_dir
    from schema.system.locks import Locked
    from schema.system.logs import log_to_stderr
    from schema.system.whole import import_all
    from schema.wire.descriptors import raise_limit
    from schema.wire.notify import Notifier

    log_to_stderr()
    import_all(("schema", "state", "reconciler"), but=COMMANDS_ALONE)
    file = local(asked)
    watch = Controller(file.path, run_dir(), state_dir(), ThisHost(), notifier=Notifier(), defaults=file.defaults)
    raise_limit()  # each client of a service is a descriptor, and 1024, the usual soft limit, are soon taken
    obey(lambda _: watch.stop(), watch.read_anew)
    if heard:
        watch.stop()
    try:
        watch.run()
    except Locked:
        complain(f"another vio4wd watch runs on {run_dir()}; end it, or set VIO4WD_RUN_DIR for a second instance")
        return 1
    return 0
