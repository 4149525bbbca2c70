"""`vio4wd validate`: is the file right?"""

from __future__ import annotations

import argparse

from reconciler.terminal.arguments import file_argument, json_argument, once

NAME = "validate"
HELP = "check a file; nothing is asked of the engine or the host"
EPILOG = """\
Of a directory all *.yaml are read, and hosts/HOSTNAME.yaml over them. What the file's sources add is not read: plan
does that, and only then can be told whether all of it fits together.
With - standard input is read; a pipe will do as well: vio4wd validate <(command).
Each problem is said as file:line:column: where: what is wrong and what to do. Exit code 1 when there is one.

Examples:
  vio4wd validate vio4wd.yaml
  vio4wd validate --json vio4wd.yaml | jq .problems
  git show :vio4wd.yaml | vio4wd validate -     what is about to be committed
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    file_argument(parser)
    json_argument(parser)


def execute(asked: argparse.Namespace) -> int:
    import schema
    from reconciler.host.host import ThisHost
    from reconciler.planning.describe import number_of
    from reconciler.sources.files import host_names
    from reconciler.terminal.output import complain, emit, say
    from schema.loading.compose import document_of, head
    from schema.loading.squatting import open_directories

    try:
        file = once(asked)
        tree = file.read(host_names(ThisHost().name()))
        spec = head(tree)
        spec = spec if spec.sources else schema.compose([tree])
        warnings = (*spec.warnings, *open_directories(spec, document_of(tree)))
    except schema.SpecError as error:
        if asked.json:
            emit(_report(error.problems, ()))
        else:
            complain(str(error))
        return 1
    if asked.json:
        emit(_report((), warnings))
        return 0
    for problem in warnings:
        say(f"{problem} (warning)", "warn")
    relays = number_of(len(spec.relays), "relay")
    more = f"what {number_of(len(spec.sources), 'source')} {'adds' if len(spec.sources) == 1 else 'add'}"
    relays += f", and {more}, which was not read" if spec.sources else ""
    say(f"{file} is valid: {relays}.", "good")
    return 0


def _report(problems: object, warnings: object) -> dict[str, object]:
    from dataclasses import asdict

    def plain(items: object) -> list[dict[str, object]]:
        return [asdict(item) for item in items]  # type: ignore[attr-defined]

    return {
        "valid": not problems,
        "problems": plain(problems),
        "warnings": plain(warnings),
    }
