"""`vio4wd plan`: what would applying the file do?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.terminal.arguments import (
    allow_destroy_argument,
    duration,
    file_argument,
    json_argument,
    once,
    target_argument,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from reconciler.apply.proposal import Look
    from reconciler.apply.saved_plan import SavedPlan
    from reconciler.desired.local import Local
    from reconciler.desired.resolve import ResolvedSpec
    from reconciler.host.refusal import PlanProblem
    from reconciler.observe.engines import Engines
    from state.store import Store

NAME = "plan"
LACKING = frozenset({"no-cpu", "no-user", "no-group"})
"""What a host may have not of all that a spec names, by the codes of SpecUnfit: there is a plan all the same."""
VALID_S = 24 * 3600.0
EXPIRES_HELP = "until when a kept plan may be carried out: 30m, 12h, 7d (default: 24h)"
HELP = "show what applying a file would do, and what that costs whom"
EPILOG = """\
  +  add     -  remove     ~  change in place     -/+  take down and set up again     >  migrate to other CPUs

Impact, from least to most: none; relay (that relay's traffic stops for a moment, or for good when it is removed);
guest (the guest sees its link go); host (every relay is interrupted). Below a new process stands what follows on it.
With - the spec is read from standard input; a pipe will do as well.

Examples:
  vio4wd plan vio4wd.yaml
  vio4wd plan -o today.plan vio4wd.yaml && vio4wd apply today.plan
  vio4wd plan --detailed-exitcode vio4wd.yaml     exit code 0: nothing to do, 2: changes, 1: error,
                                                  or some of it will not work on this host as it is now
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    file_argument(parser)
    parser.add_argument("-o", "--out", metavar="PLAN", type=Path, help="keep the plan in a file, for apply")
    parser.add_argument("--detailed-exitcode", action="store_true", help="exit with 2 when there is something to do")
    parser.add_argument("--expires", metavar="T", type=duration, default=VALID_S, help=EXPIRES_HELP)
    target_argument(parser)
    allow_destroy_argument(parser)
    json_argument(parser)


def execute(asked: argparse.Namespace) -> int:
    import json

    from reconciler.terminal.output import complain, emit, say
    from schema.system.files import write_named
    from schema.system.token import holds_token

    saved, missing, remarks = made(once(asked), asked.expires, asked.allow_destroy, asked.target)
    if asked.out is not None:
        text = json.dumps(saved.to_json(), indent=2) + "\n"
        write_named(asked.out, text, secret=holds_token(text))
    if asked.json:
        emit(saved.to_json())
    else:
        show(saved, missing)
        if asked.out is not None:
            say(f"Kept in {asked.out}; carry it out with: vio4wd apply {asked.out}")
    for remark in remarks:
        complain(remark)
    if not asked.detailed_exitcode:
        return 0
    return 1 if saved.problems else 2 if saved.planned_actions else 0


def made(
    file: Local, valid_s: float = VALID_S, allowed: Sequence[str] = (), only: Sequence[str] = ()
) -> tuple[SavedPlan, list[str], list[str]]:
    """The plan for what stands there; on which engines it waits; what may be said about it beside. `allowed` and `only`
    are names of relays."""
    import contextlib

    from reconciler.apply.imagine import with_names
    from reconciler.apply.proposal import Intent, proposed
    from reconciler.host.host import ThisHost
    from reconciler.observe.engines import Engines
    from reconciler.planning.capacity import strangers
    from reconciler.policy.removal_guards import policy_of, relay_ids
    from reconciler.status.plan_problems import frontends_refused
    from schema.paths import run_dir, state_dir
    from state.last_applied import last_target
    from state.store import Store

    with contextlib.closing(Store(state_dir())) as store:
        settled, unfit, names = _settled(file, store)
        last = last_target(store)
    spec = settled.wanted.spec
    intent = Intent(
        source=str(file),
        sha256=spec.sha256,
        target=settled.wanted.target,
        policy=policy_of(spec, allowed),
        owners=settled.wanted.owners,
        last=last,
        only=relay_ids(only),
        revisions=settled.revisions,
        path=file.absolute,
        valid_s=valid_s,
        problems=(*unfit, *frontends_refused(spec, run_dir())),
    )
    with Engines(run_dir(), state_dir()) as engines:
        snapshot = engines.observe_any()
        found = proposed(intent, snapshot, ThisHost(), looking_at(engines))
    missing = list(found.todo.missing.values())
    return with_names(found.saved, names), missing, strangers(found.todo, snapshot, ThisHost())


def looking_at(engines: Engines) -> Look:
    """Finds out what of a plan will not work."""
    from reconciler.status.plan_problems import problems_of

    return lambda todo, snapshot: problems_of(todo, snapshot, engines)


def _settled(file: Local, store: Store) -> tuple[ResolvedSpec, tuple[PlanProblem, ...], Mapping[int, str]]:
    """What is wanted; what of that this host has not; the names of users that it has not, by the numbers that stand
    for them. Raises as `read_now` what is no matter of this host alone."""
    from reconciler.desired.resolve import read_now
    from reconciler.host.host import AnyHost, ThisHost
    from reconciler.host.refusal import SpecUnfit
    from reconciler.terminal.output import complain

    try:
        return read_now(file, ThisHost(), store, complain), (), {}
    except SpecUnfit as unfit:
        if not unfit.codes <= LACKING:
            raise
        host = AnyHost()
        return read_now(file, host, store, complain), unfit.obstacles, host.stand_ins


def show(saved: SavedPlan, missing: Iterable[str] = ()) -> None:
    """Prints a plan, coloured by what is done. `missing` are sentences on engines that are needed and not there."""
    from reconciler.terminal import plan_text as plan_text
    from reconciler.terminal.output import say

    for line, verb in plan_text.lines(saved, missing):
        say(line, {"add": "add", "remove": "remove"}.get(str(verb), "change") if verb is not None else None)
