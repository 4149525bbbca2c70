"""`vio4wd plan`: what would applying the file do?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.commands.common import allow_destroy_argument, file_argument, json_argument

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.guards import Held
    from reconciler.hostplan import HostPlan

NAME = "plan"
HELP = "show what applying a file would do, and what that costs whom"
EPILOG = """\
  +  add     -  remove     ~  change in place     -/+  take down and set up again     >  migrate to other CPUs

Impact, from least to most: none; relay (that relay's traffic stops for a moment, or for good when it is removed);
guest (the guest sees its link go); host (every relay is interrupted).

Examples:
  vio4wd plan vio4wd.yaml
  vio4wd plan -o today.plan vio4wd.yaml && vio4wd apply today.plan
  vio4wd plan --detailed-exitcode vio4wd.yaml     exit code 0: nothing to do, 2: changes, 1: error
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    file_argument(parser)
    parser.add_argument("-o", "--out", metavar="PLAN", type=Path, help="keep the plan in a file, for apply")
    parser.add_argument("--detailed-exitcode", action="store_true", help="exit with 2 when there is something to do")
    allow_destroy_argument(parser)
    json_argument(parser)


def execute(asked: argparse.Namespace) -> int:
    import contextlib
    import json

    from reconciler.files import write_atomically
    from reconciler.fleet import Fleet
    from reconciler.guards import guard, policy_of
    from reconciler.host import ThisHost
    from reconciler.hostplan import plan_host
    from reconciler.output import complain, emit, say
    from reconciler.room import refuse_shortage, strangers
    from reconciler.savedplan import save
    from reconciler.settle import read_now
    from reconciler.vfs.onhost import objections
    from reconciler.wanted import with_owners
    from schema.paths import run_dir, state_dir
    from state.lasttarget import last_target
    from state.store import Store

    with contextlib.closing(Store(state_dir())) as store:
        settled = read_now(asked.file, ThisHost(), store, complain)
        last = last_target(store)
    spec, target = settled.wanted.spec, settled.wanted.target
    policy = policy_of(spec, asked.allow_destroy)
    with Fleet(run_dir(), state_dir()) as fleet:
        sighting = fleet.see_any()
        guarded = guard(target, sighting, policy, last)
        todo = with_owners(plan_host(guarded.target, sighting), settled.wanted.owners)
        refuse_shortage(todo, sighting, ThisHost())
        obstacles = [*objections(target, todo.actions, fleet.vfs), *fleet.mounts.objections(todo.actions)]
        remarks = strangers(todo, sighting, ThisHost())
    revisions = settled.revisions
    saved = save(todo, sighting, str(asked.file), spec.sha256, guarded, policy, revisions).to_json()
    if asked.out is not None:
        write_atomically(asked.out, json.dumps(saved, indent=2) + "\n")
    if asked.json:
        emit(saved)
    else:
        show(todo, str(asked.file), guarded.held)
        if asked.out is not None:
            say(f"Kept in {asked.out}; carry it out with: vio4wd apply {asked.out}")
    for obstacle in obstacles:
        complain(f"As it is now, this will not work: {obstacle}")
    for remark in remarks:
        complain(remark)
    return 2 if asked.detailed_exitcode and todo.actions else 0


def show(todo: HostPlan, source: str, held: Sequence[Held]) -> None:
    """Prints a plan, coloured by what is done."""
    from reconciler import render
    from reconciler.output import say

    for line, verb in render.lines(todo, source, held):
        say(line, {"add": "add", "remove": "remove"}.get(str(verb), "change") if verb is not None else None)
