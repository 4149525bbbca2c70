"""`vio4wd plan`: what would applying the file do?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.commands.common import (
    allow_destroy_argument,
    duration,
    file_argument,
    json_argument,
    local,
    target_argument,
)

if TYPE_CHECKING:
    from reconciler.hostplan import HostPlan
    from reconciler.savedplan import SavedPlan

NAME = "plan"
VALID_S = 24 * 3600.0
EXPIRES_HELP = "until when a kept plan may be carried out: 30m, 12h, 7d (default: 24h)"
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
    parser.add_argument("--expires", metavar="T", type=duration, default=VALID_S, help=EXPIRES_HELP)
    target_argument(parser)
    allow_destroy_argument(parser)
    json_argument(parser)


def execute(asked: argparse.Namespace) -> int:
    import contextlib
    import json

    from reconciler.fleet import Fleet
    from reconciler.guards import guard, policy_of, relay_ids
    from reconciler.host import ThisHost
    from reconciler.hostplan import plan_host
    from reconciler.narrow import narrowed, scope
    from reconciler.output import complain, emit, say
    from reconciler.room import refuse_shortage, strangers
    from reconciler.savedplan import Origin, save
    from reconciler.settle import read_now
    from reconciler.vfs.onhost import objections
    from reconciler.wanted import with_owners
    from schema.files import write_named
    from schema.paths import run_dir, state_dir
    from schema.token import holds_token
    from state.lasttarget import last_target
    from state.store import Store

    file = local(asked)
    with contextlib.closing(Store(state_dir())) as store:
        settled = read_now(file, ThisHost(), store, complain)
        last = last_target(store)
    spec, target = settled.wanted.spec, settled.wanted.target
    policy = policy_of(spec, asked.allow_destroy)
    with Fleet(run_dir(), state_dir()) as fleet:
        sighting = fleet.see_any()
        ids = relay_ids(asked.target)
        if ids:
            target, last = narrowed(target, sighting, ids, last), scope(last, ids)
        guarded = guard(target, sighting, policy, last)
        todo = with_owners(plan_host(guarded.target, sighting), settled.wanted.owners)
        refuse_shortage(todo, sighting, ThisHost())
        obstacles = [*objections(target, todo.actions, fleet.vfs), *fleet.mounts.objections(todo.actions)]
        remarks = strangers(todo, sighting, ThisHost())
    origin = Origin(str(file.path), spec.sha256, guarded, policy, last, settled.revisions)
    saved = save(todo, sighting, origin, asked.expires)
    if asked.out is not None:
        text = json.dumps(saved.to_json(), indent=2) + "\n"
        write_named(asked.out, text, secret=holds_token(text))
    if asked.json:
        emit(saved.to_json())
    else:
        show(todo, saved)
        if asked.out is not None:
            say(f"Kept in {asked.out}; carry it out with: vio4wd apply {asked.out}")
    for obstacle in obstacles:
        complain(f"As it is now, this will not work: {obstacle}")
    for remark in remarks:
        complain(remark)
    return 2 if asked.detailed_exitcode and todo.actions else 0


def show(todo: HostPlan, saved: SavedPlan) -> None:
    """Prints a plan, coloured by what is done."""
    from reconciler import render
    from reconciler.output import say

    for line, verb in render.lines(todo, saved.file, saved.held, saved.drift):
        say(line, {"add": "add", "remove": "remove"}.get(str(verb), "change") if verb is not None else None)
