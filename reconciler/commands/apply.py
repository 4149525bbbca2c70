"""`vio4wd apply`: make the engine match a file, or carry out a plan that was kept."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from reconciler.commands.common import allow_destroy_argument, file_argument, json_argument, positive, target_argument

if TYPE_CHECKING:
    from reconciler.apply import Outcome, Step
    from reconciler.settle import Settled
    from reconciler.steer import Steering
    from state.store import Store

NAME = "apply"
HELP = "make the engine match a file, or carry out a plan made with plan -o"
EPILOG = """\
A plan is carried out only on the state that it was made for; when the engine was changed or started again since, it is
refused and nothing is done. Afterwards the engine is observed again and compared: exit code 0 means that it matches.
One relay that fails does not stop the others; what failed is said, and the exit code is 1.

While `vio4wd watch` (or `run`) keeps the engine as another file says, it will undo what this command did.

Examples:
  vio4wd apply vio4wd.yaml
  vio4wd plan -o today.plan vio4wd.yaml && vio4wd apply today.plan
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    file_argument(parser, "the spec, or a plan made with plan -o")
    wait_help = "wait this long for an engine that starts (default: 60)"
    parser.add_argument("--wait", metavar="S", type=positive, default=60.0, help=wait_help)
    target_argument(parser)
    allow_destroy_argument(parser)
    json_argument(parser)


def execute(asked: argparse.Namespace) -> int:
    from reconciler.fleet import Fleet
    from reconciler.host import ThisHost
    from reconciler.output import complain, emit, say
    from reconciler.steer import Steering
    from schema.paths import run_dir, state_dir
    from state.store import Store

    quiet = asked.json
    store = Store(state_dir())
    with Fleet(run_dir(), state_dir()) as fleet:
        steering = Steering(fleet, store, ThisHost(), asked.wait, complain, None if quiet else _show_step)
        outcome, origin = _apply(asked, steering)
    _remember(store, outcome, origin)
    store.close()
    if asked.json:
        emit(outcome.to_json())
    else:
        _conclude(outcome, str(asked.file), say)
    for each in outcome.held:
        complain(str(each))
    return 0 if outcome.verdict == "applied" and not outcome.held else 1


def _apply(asked: argparse.Namespace, steering: Steering) -> tuple[Outcome, dict[str, Any]]:
    """What was done and how it ended, and where it came from."""
    from reconciler.guards import policy_of, relay_ids
    from reconciler.host import ThisHost
    from reconciler.output import complain
    from reconciler.savedplan import PlanError, is_plan, parse_plan
    from reconciler.settle import read_now

    text = _text(asked)
    if is_plan(text):
        if asked.target:
            raise PlanError(f"{asked.file} is a plan, which is carried out as a whole; make one with plan --target")
        saved = parse_plan(text, str(asked.file))
        outcome = steering.apply_saved(saved, relay_ids(asked.allow_destroy))
        return outcome, {"source": str(asked.file), "sha256": saved.sha256, "text": ""}
    settled = read_now(asked.file, ThisHost(), steering.store, complain)
    spec = settled.wanted.spec
    policy = policy_of(spec, asked.allow_destroy)
    outcome = steering.apply_state(settled.wanted.target, policy, relay_ids(asked.target))
    if outcome.verdict == "applied" and not asked.target:
        _in_force(settled, steering)
    return outcome, {"source": str(asked.file), "sha256": spec.sha256, "text": spec.text}


def _in_force(settled: Settled, steering: Steering) -> None:
    """Where a watch runs, what is in force is its business."""
    from reconciler.lock import WATCH, is_held
    from reconciler.settle import remember

    if not is_held(steering.fleet.run_dir / WATCH):
        remember(steering.store, settled)


def _text(asked: argparse.Namespace) -> str:
    """The file's text as far as it tells a plan from a spec; the spec's loader has better words for what is wrong."""
    from reconciler.savedplan import MAX_BYTES

    try:
        with asked.file.open("rb") as file:
            return str(file.read(MAX_BYTES).decode())
    except (OSError, UnicodeDecodeError):
        return ""


def _show_step(step: Step) -> None:
    from reconciler.output import say
    from reconciler.render import SYMBOLS, words

    took = f" ({step.took_us / 1000:.1f} ms)" if step.took_us else ""
    detail = f"  {words(step.action)}".rstrip()
    where = f" (shard {step.shard})" if step.shard else ""
    line = f"  {SYMBOLS[step.action.verb]:>3} {step.action.resource}{where}{detail}: {step.ending}{took}"
    say(f"{line}: {step.message}" if step.message else line, None if step.ending == "done" else "bad")


def _conclude(outcome: Outcome, source: str, say: Any) -> None:
    from reconciler.summary import summary

    if outcome.held and not outcome.steps:
        say("Nothing else is to be done.")
    elif outcome.verdict == "applied" and not outcome.steps:
        say(f"Nothing to do: the engine matches {source}.")
    elif outcome.verdict == "applied":
        say(f"Applied and verified: {summary(step.action for step in outcome.steps)}", "good")
    else:
        say(f"Not all of it was applied: {outcome.message}", "bad")


def _remember(store: Store, outcome: Outcome, origin: dict[str, Any]) -> None:
    from dataclasses import asdict

    from reconciler.commands.common import asking
    from reconciler.output import complain
    from reconciler.summary import summary
    from state.history import record

    if not outcome.steps and not outcome.held:
        return
    changes = [{"shard": step.shard, **step.action.to_json()} for step in outcome.steps]
    document = {"changes": changes, "summary": asdict(summary(step.action for step in outcome.steps))}
    record(store, who=asking(), plan=document, outcome=outcome.to_json(), **origin)
    if store.fault:
        complain(store.fault)
