"""`vio4wd edit`: change a spec as kubectl edit does: a copy, an editor, a look at the plan, then the file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from schema.paths import DEFAULT_FILE

if TYPE_CHECKING:
    from reconciler.desired.edited import Draft

NAME = "edit"
HELP = "change a spec in an editor: it is checked and its plan shown before the file is replaced"
EPILOG = """\
The editor ($VISUAL, $EDITOR, else vi or nano) gets a copy. What is wrong with it is written into its first lines, and
the editor opens again, until it is right, nothing was changed, or nothing stands in it. Then the plan is shown; once
you say so (or with --yes) the file is replaced as a whole, with owner and mode as they were. A watch that keeps it
applies it. Whenever the file was not replaced your text is kept, and it is said where: also when somebody else changed
the file meanwhile.

Examples:
  vio4wd edit                           the file that the watch keeps
  EDITOR=nano vio4wd edit spec.yaml
  vio4wd edit --yes --apply spec.yaml   where no watch runs
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    what = f"the spec (default: the file that a watch keeps, else {DEFAULT_FILE})"
    parser.add_argument("file", metavar="FILE", type=Path, nargs="?", help=what)
    parser.add_argument("--yes", action="store_true", help="replace the file without asking")
    parser.add_argument("--apply", action="store_true", help="apply it, where no watch keeps it")


def execute(asked: argparse.Namespace) -> int:
    from reconciler.desired.edited import Draft
    from reconciler.terminal.output import complain, say

    file = _file(asked.file)
    draft = Draft(file)
    try:
        verdict = _edited(draft, asked.yes)
    except BaseException:  # a signal, a full disk: what was written is somebody's work
        _keep(draft)
        raise
    if verdict == "unchanged":
        draft.remove()
        say(f"Nothing was changed: {file} is as it was.")
        return 0
    if verdict != "agreed":
        complain(f"{file} is as it was{': ' if verdict else '.'}{verdict}")
        _keep(draft)
        return 1
    return _put(draft, asked.apply)


def _file(given: Path | None) -> Path:
    from reconciler.status.watched import watched
    from schema.paths import run_dir

    if given is not None:
        return given
    kept = watched(run_dir())
    return Path(kept.file) if kept is not None else DEFAULT_FILE


def _edited(draft: Draft, yes: bool) -> str:
    """`unchanged`, `agreed`, or why neither."""
    from reconciler.host.refusal import SpecUnfit
    from schema import SpecError

    while True:
        draft.open()
        if draft.unchanged:
            return "unchanged"
        if draft.given_up:
            return "what you wrote is not valid, and was not changed any more"
        try:
            draft.check()
            _show_plan(draft)
        except SpecError as error:
            draft.remark(error.problems)
            continue
        except SpecUnfit as unfit:
            draft.remark(unfit.reasons)
            continue
        answer = "y" if yes else _asked(draft.file)
        if answer != "e":
            return "agreed" if answer == "y" else answer


def _show_plan(draft: Draft) -> None:
    """Where an engine answers. Raises SpecUnfit."""
    from engine.api.client import EngineError, EngineUnavailable
    from reconciler.desired.resolve import Unread
    from reconciler.status.preview import preview
    from reconciler.terminal.output import complain
    from reconciler.terminal.plan_text import show
    from schema.paths import run_dir, state_dir

    try:
        found = preview(draft.local, (run_dir(), state_dir()), complain)
    except (EngineUnavailable, EngineError, Unread) as error:
        complain(f"There is no plan to be shown: {error}")
        return
    show(found.saved, found.missing)
    for remark in found.remarks:
        complain(remark)


def _asked(file: Path) -> str:
    """`y`, `e` (edit again), or why not."""
    if not sys.stdin.isatty():
        return "there is no terminal to ask on; add --yes"
    answer = input(f"Replace {file} by this? [y]es, [e]dit again, [N]o: ").strip().lower()
    return {"y": "y", "yes": "y", "e": "e", "edit": "e"}.get(answer, "you did not say yes")


def _keep(draft: Draft) -> None:
    from reconciler.terminal.output import complain

    if draft.worth_keeping:
        complain(f"What you wrote is kept in {draft.copy}")
    else:
        draft.remove()


def _put(draft: Draft, apply: bool) -> int:
    from reconciler.status.watched import watched
    from reconciler.terminal.output import complain, say
    from schema.paths import run_dir

    try:
        problem = draft.put()
    except OSError as error:
        problem = f"{draft.file} can't be written: {error.strerror}"
    if problem:
        complain(problem)
        _keep(draft)
        return 1
    draft.remove()
    kept = watched(run_dir())
    if kept is not None and kept.reads(str(draft.file)):
        say(f"Saved. {kept}, and applies it now: see vio4wd status", "good")
        return 0
    if apply:
        say("Saved.", "good")
        return _applied(draft.file)
    say(f"Saved. No watch keeps it; carry it out with: vio4wd apply {draft.file}", "good")
    return 0


def _applied(file: Path) -> int:
    from reconciler.commands import apply

    parser = argparse.ArgumentParser()
    apply.arguments(parser)
    return apply.execute(parser.parse_args([str(file)]))
