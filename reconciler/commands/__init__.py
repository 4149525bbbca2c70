"""One file for each command. What a command needs is imported when it runs: `validate` must not wait for ZeroMQ, and
nothing but `engine` may wait for Numba or DPDK.

May import every room. Each file has NAME, HELP, EPILOG, `arguments` and `execute`, and is listed in COMMANDS.
Open `plan.py` first: it shows what most of them do with a file.
"""

from __future__ import annotations

import argparse
from typing import Protocol

from reconciler.commands import (
    apply,
    capture,
    completion,
    confirm,
    diff,
    edit,
    engine,
    explain,
    history,
    import_,
    pause,
    plan,
    resume,
    rollback,
    run,
    show,
    stats,
    status,
    sync,
    validate,
    watch,
)


class Command(Protocol):
    """The shape of every file here."""

    NAME: str
    HELP: str
    EPILOG: str

    def arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def execute(self, asked: argparse.Namespace) -> int: ...


COMMANDS: tuple[Command, ...] = (
    run,
    validate,
    plan,
    show,
    diff,
    apply,
    confirm,
    edit,
    status,
    stats,
    capture,
    history,
    rollback,
    pause,
    resume,
    sync,
    explain,
    engine,
    watch,
    import_,
    completion,
)
"""In the order of `vio4wd --help`: what a first day needs comes first."""
