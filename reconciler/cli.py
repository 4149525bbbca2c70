"""The command line: finds the command, turns what went wrong into a sentence and an exit code.

0: done, or nothing to do. 1: an error. 64: the command line itself is wrong (EX_USAGE of sysexits.h).
`plan --detailed-exitcode` adds 2: there are changes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from reconciler.commands import COMMANDS

EX_USAGE = 64
ACTING = frozenset({"run", "engine", "watch", "apply", "rollback", "confirm", "edit", "pause", "resume", "sync"})
"""Their exit code says what came of it, whether that could be printed or not."""

EPILOG = """\
A first day:
  vio4wd validate vio4wd.yaml     is the file right?
  vio4wd run vio4wd.yaml          start the engine, and keep it as the file says
  vio4wd status                   what is live, and what is wrong
  vio4wd plan vio4wd.yaml         what would a changed file do?

Where it keeps its files: $VIO4WD_RUN_DIR (/run/vio4wd), $VIO4WD_STATE_DIR (/var/lib/vio4wd),
$VIO4WD_CACHE_DIR (/var/cache/vio4wd).
"""


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(EX_USAGE, f"{self.prog}: {message}; see {self.prog} --help\n")


class _Version(argparse.Action):
    """The version is looked up only when asked for: that alone takes 30 ms."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"vio4wd {version('vio4wd')}")
        except PackageNotFoundError:
            print("vio4wd (not installed)")
        parser.exit()


def parser(only: str | None = None) -> argparse.ArgumentParser:
    """All commands with their help, and their arguments too (`only`: of one command alone, which is quicker)."""
    top = Parser(
        prog="vio4wd",
        description="Relays packets between SR-IOV VFs and the virtio NICs of guests, as one YAML file says.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = top.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    for command in COMMANDS:
        sub = commands.add_parser(
            command.NAME,
            help=command.HELP,
            description=f"{command.HELP[0].upper()}{command.HELP[1:]}.",
            epilog=command.EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if only is None or only == command.NAME:
            command.arguments(sub)
        sub.set_defaults(execute=command.execute, command=command.NAME, whole=parser)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; gives its exit code."""
    from reconciler.terminal import output

    output.begin()
    try:
        words = sys.argv[1:] if argv is None else argv
        asked = parser(words[0] if words else "").parse_args(words)
        code = _executed(asked)
    except SystemExit:  # argparse's, after a help text or a usage
        output.end()
        raise
    return code if output.end() or asked.command in ACTING else code or 1


def _executed(asked: argparse.Namespace) -> int:
    from reconciler.terminal.output import emit, refuse

    as_json = getattr(asked, "json", False)
    try:
        code: int = asked.execute(asked)
    except BrokenPipeError:  # of bytes that are no lines; whoever read them has seen enough
        return 1
    except KeyboardInterrupt:
        if as_json:
            emit({"error": "it was interrupted"})
        return 1
    except Exception as error:
        sentence = _sentence(error)
        if sentence is None:
            raise
        refuse(sentence, as_json)
        return 1
    return code


def _sentence(error: Exception) -> str | None:
    """What to say about an error that is no fault of ours; None for one that is."""
    from engine.api.client import EngineError, EngineUnavailable
    from reconciler.apply.commit_confirmed import Unconfirmed
    from reconciler.apply.saved_plan import PlanError
    from reconciler.apply.staleness import Stale
    from reconciler.desired.edited import EditorError
    from reconciler.desired.resolve import Unread
    from reconciler.host.refusal import SpecUnfit
    from reconciler.status.watched import NotWatched
    from schema import SpecError
    from schema.loading.keys import UnknownKey
    from schema.system.locks import Locked

    ours = SpecError | SpecUnfit | Unread | EngineUnavailable | Stale | Unconfirmed | PlanError | UnknownKey
    if isinstance(error, ours | NotWatched | EditorError):
        return str(error)
    if isinstance(error, EngineError):
        return f"The engine refused: {error.message}"
    if isinstance(error, Locked):
        return f"{error}; wait until it has finished, or end it"
    if isinstance(error, PermissionError):
        return f"{error.filename}: permission denied; run as root, or set VIO4WD_RUN_DIR and VIO4WD_STATE_DIR"
    if isinstance(error, OSError):
        return f"{error.filename or 'input or output'}: {error.strerror or error}"
    return None


if __name__ == "__main__":
    sys.exit(main())
