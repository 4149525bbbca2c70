"""`vio4wd apply`: make the engine match a file, or carry out a plan that was kept."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.terminal.arguments import (
    allow_destroy_argument,
    duration,
    file_argument,
    json_argument,
    once,
    positive,
    target_argument,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.apply.commit_confirmed import ApplyRequest
    from reconciler.apply.outcome import Outcome, Step
    from reconciler.apply.saved_plan import SavedPlan
    from reconciler.apply.transaction import ApplyTransaction
    from reconciler.desired.desired_state import DesiredState
    from reconciler.observe.engines import Engines
    from state.store import Store

NAME = "apply"
HELP = "make the engine match a file, or carry out a plan made with plan -o"
EPILOG = """\
A plan is carried out only on the state that it was made for; when the engine was changed or started again since, it is
refused and nothing is done. Afterwards the engine is observed again and compared: exit code 0 means that it matches.
One relay that fails does not stop the others; what failed is said, and the exit code is 1. With --on-error=rollback
everything is as before then; with --confirm also when no vio4wd confirm comes in time.

Where `vio4wd watch` (or `run`) keeps a file, that file is what counts, and another one is refused. With --confirm it is
tried, and vio4wd confirm makes it what the watched file says. --force applies it all the same, until the watch takes it
back. `vio4wd edit` changes the watched file itself.

Examples:
  vio4wd apply vio4wd.yaml
  vio4wd plan -o today.plan vio4wd.yaml && vio4wd apply today.plan
  vio4wd apply --confirm 60s new.yaml     then look, and say: vio4wd confirm
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    file_argument(parser, "the spec, or a plan made with plan -o")
    wait_help = "wait this long for an engine that starts (default: 60)"
    parser.add_argument("--wait", metavar="S", type=positive, default=60.0, help=wait_help)
    what = "what becomes of the rest when some of it does not work (default: continue)"
    parser.add_argument("--on-error", choices=("continue", "rollback"), default="continue", help=what)
    what = "roll it back unless vio4wd confirm comes within this time: 60s, 5m"
    parser.add_argument("--confirm", metavar="T", type=duration, default=0.0, help=what)
    what = "apply another file than the one that a watch keeps, for a moment: the watch takes it back"
    parser.add_argument("--force", action="store_true", help=what)
    target_argument(parser)
    allow_destroy_argument(parser)
    json_argument(parser)


def execute(asked: argparse.Namespace) -> int:
    from reconciler.observe.engines import Engines
    from schema.paths import run_dir, state_dir
    from state.store import Store

    store = Store(state_dir())
    do = _task(asked, store)
    with Engines(run_dir(), state_dir()) as engines:
        outcome = carried_out(asked, engines, store, do)
    return conclude(asked, outcome, str(once(asked)))


def carried_out(
    asked: argparse.Namespace, engines: Engines, store: Store, do: Callable[[ApplyTransaction], Outcome]
) -> Outcome:
    """Does it, telling people step by step; closes the store."""
    from reconciler.apply.converge import Converger
    from reconciler.apply.transaction import ApplyTransaction
    from reconciler.host.host import ThisHost
    from reconciler.terminal.output import complain

    _end_as_by_ctrl_c()
    converger = Converger(engines, asked.wait, complain, None if asked.json else _show_step)
    outcome = do(ApplyTransaction(converger, store, ThisHost()))
    if store.fault:
        complain(store.fault)
    store.close()
    return outcome


def _end_as_by_ctrl_c() -> None:
    """Also when the terminal is closed, or somebody ends the command: what has to be undone is undone first."""
    import signal

    for number in (signal.SIGHUP, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup has it ignored
            signal.signal(number, signal.default_int_handler)


def conclude(asked: argparse.Namespace, outcome: Outcome, source: str) -> int:
    """Says how it ended; the exit code."""
    from reconciler.terminal.output import complain, emit

    if asked.json:
        emit(outcome.to_json())
    else:
        _say_ending(outcome, source)
    for each in outcome.held_back:
        complain(str(each))
    return 0 if outcome.verdict == "applied" and not outcome.held_back and outcome.rollback is None else 1


def _task(asked: argparse.Namespace, store: Store) -> Callable[[ApplyTransaction], Outcome]:
    """What is to be done. Raises SpecError, SpecUnfit, PlanError."""
    from reconciler.apply.saved_plan import PlanError, is_plan, parse_plan
    from reconciler.desired.resolve import read_now
    from reconciler.host.host import ThisHost
    from reconciler.policy.removal_guards import policy_of, relay_ids
    from reconciler.terminal.output import complain

    text = _text(asked)
    if is_plan(text):
        if asked.target:
            raise PlanError(f"{once(asked)} is a plan, which is carried out as a whole; make one with plan --target")
        saved, allowed = parse_plan(text, str(once(asked))), relay_ids(asked.allow_destroy)
        order = beside_a_watch(asked, store, _order(asked, saved.sha256, ""), _made_from(saved))
        return lambda applier: applier.apply_saved(saved, order, allowed)
    found = read_now(once(asked), ThisHost(), store, complain)
    spec = found.spec
    policy = policy_of(spec, asked.allow_destroy)
    order = replace(_order(asked, spec.sha256, spec.text), owners=found.owners)
    order = beside_a_watch(asked, store, order, once(asked).absolute)

    def do(applier: ApplyTransaction) -> Outcome:
        outcome = applier.apply_state(found.target, policy, order, relay_ids(asked.target))
        if outcome.verdict == "applied" and outcome.rollback is None and not asked.target:
            _in_force(found, store)
        return outcome

    return do


def _made_from(saved: SavedPlan) -> str:
    """Where the file of a plan lies; releases before this one kept its name alone."""
    import os

    return saved.path or os.path.abspath(saved.file)


def beside_a_watch(asked: argparse.Namespace, store: Store, order: ApplyRequest, path: str) -> ApplyRequest:
    """What is applied, with what is to become of the file that a watch keeps. Raises NotWatched where that is not the
    file at `path`, and nothing is said of what is to become of the difference."""
    from reconciler.status.watched import another, becoming, trial_words, unwritable, watched
    from reconciler.terminal.output import complain
    from schema.paths import run_dir, state_dir

    kept = watched(run_dir())
    if kept is None or kept.is_(path):
        return order
    if asked.confirm:
        text, why = _whole_text(asked, order, path)
        if why:
            raise unwritable(kept, order.source, why)
        return replace(order, becoming=becoming(kept, order.source, text))
    if not asked.force:
        raise another(kept, order.source)
    complain(trial_words(kept, store, state_dir()))
    return order


def _whole_text(asked: argparse.Namespace, order: ApplyRequest, path: str) -> tuple[str, str]:
    """The spec as one text that a file may have, or why there is none."""
    import hashlib

    from reconciler.status.watched import source_names
    from schema import Text, Tree

    if asked.target:
        return "", "--target applies a part of it, and the watch would apply all of it then"
    if asked.defaults is not None:
        return "", "that is made from virtio-forwarder's configuration file; save what vio4wd import prints"
    if path and Path(path).is_dir():
        return "", "that is a directory of files"
    if order.text:
        own = source_names(Tree((Text(path, order.text.encode()),)))
        return order.text, f"it has sources of its own ({', '.join(own)})" if own else ""
    try:
        content = Path(path).read_bytes()
    except OSError:
        content = b""
    if hashlib.sha256(content).hexdigest() != order.sha256:
        return "", "the file that this plan was made from says something else by now, or can't be read"
    return content.decode(), ""


def _in_force(found: DesiredState, store: Store) -> None:
    """Where a watch runs, what is in force is its business."""
    from reconciler.desired.resolve import remember
    from schema.paths import run_dir
    from schema.system.locks import WATCH, is_held

    if not is_held(run_dir() / WATCH):
        remember(store, found)


def _order(asked: argparse.Namespace, sha256: str, text: str) -> ApplyRequest:
    from reconciler.apply.commit_confirmed import ApplyRequest
    from reconciler.terminal.arguments import asking

    return ApplyRequest(asking(), str(once(asked)), sha256, text, asked.on_error == "rollback", asked.confirm)


def _text(asked: argparse.Namespace) -> str:
    """The file's text as far as it tells a plan from a spec; the spec's loader has better words for what is wrong."""
    from reconciler.apply.saved_plan import MAX_BYTES

    place = once(asked)
    try:
        if place.stream is not None:
            return place.stream.decode()
        with place.path.open("rb") as file:
            return str(file.read(MAX_BYTES).decode())
    except (OSError, UnicodeDecodeError):
        return ""


def _show_step(step: Step) -> None:
    from reconciler.planning.describe import words
    from reconciler.terminal.output import say_meanwhile
    from reconciler.terminal.plan_text import SYMBOLS

    took = f" ({step.took_us / 1000:.1f} ms)" if step.took_us else ""
    detail = f"  {words(step.action)}".rstrip()
    where = f" (shard {step.shard})" if step.shard else ""
    line = f"  {SYMBOLS[step.action.verb]:>3} {step.action.resource}{where}{detail}: {step.ending}{took}"
    say_meanwhile(f"{line}: {step.message}" if step.message else line, None if step.ending == "done" else "bad")


def _say_ending(outcome: Outcome, source: str) -> None:
    from reconciler.planning.describe import summary
    from reconciler.terminal.output import say

    if outcome.held_back and not outcome.steps:
        say("Nothing else is to be done.")
    elif outcome.verdict == "applied" and not outcome.steps:
        say(f"Nothing to do: the engine matches {source}.")
    elif outcome.verdict == "applied" and outcome.rollback is None:
        say(f"Applied and verified: {summary(step.action for step in outcome.steps)}", "good")
    elif outcome.verdict != "applied":
        say(f"Not all of it was applied: {outcome.message}", "bad")
    if outcome.confirmed:
        say("Confirmed: it stays.", "good")
    if outcome.rollback is not None:
        _say_rollback(outcome, outcome.rollback)


def _say_rollback(outcome: Outcome, rollback: Outcome) -> None:
    from reconciler.terminal.output import say

    if rollback.verdict == "applied":
        say(f"Rolled back and verified: {outcome.why_undone}.", "bad")
    else:
        who = "vio4wd watch, or the next command that applies,"
        say(f"Not rolled back yet ({rollback.message}); {who} goes on with it.", "bad")
