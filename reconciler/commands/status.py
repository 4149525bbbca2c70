"""`vio4wd status`: what is live, which spec is in force, and what is wrong."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from typing import Any

from reconciler.commands.common import json_argument

NAME = "status"
HELP = "show the engine, its relays, which spec is in force, and why a newer one is refused"
EPILOG = """\
Ready: packets can pass. Pending: not applied yet, or no guest is there. Degraded: something is broken, and is named.
Exit code 1 when no engine answers.

Examples:
  vio4wd status
  vio4wd status --json | jq '.relays[] | select(.condition != "Ready")'
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    json_argument(parser)


def execute(asked: argparse.Namespace) -> int:
    from reconciler.output import emit

    status = collect()
    if asked.json:
        emit(status)
    else:
        _show(status)
    return 0 if status["engine"] is not None else 1


def collect() -> dict[str, Any]:
    """The whole of it as JSON has it; `engine` and `watch` are None when they are not there."""
    from dataclasses import asdict

    from engine.client import EngineClient, EngineError, EngineUnavailable
    from reconciler.condition import relay_statuses
    from reconciler.lock import WATCH, is_held
    from reconciler.report import read_report
    from schema.paths import run_dir

    problems: list[str] = []
    hello = observed = None
    with EngineClient(run_dir()) as client:
        try:
            hello = client.hello()
            observed = client.observe()
        except EngineUnavailable as error:
            problems.append(str(error))
        except EngineError as error:
            problems.append(error.message if error.code != "not-ready" else "the engine is starting")
    running = is_held(run_dir() / WATCH)
    report = read_report(run_dir())
    if not running:
        problems.append("no watch is running: the engine stays as it is, whatever the file says")
    shown = report if running else None
    workers = observed.live.get("workers", {}) if observed is not None else {}
    return {
        "engine": asdict(hello) if hello is not None else None,
        "watch": {"running": running, **report} if report is not None else None,
        "workers": [{"cpu": int(cpu), **facts} for cpu, facts in sorted(workers.items(), key=lambda w: int(w[0]))],
        "relays": [asdict(relay) for relay in relay_statuses(observed, shown)],
        "problems": [*problems, *((shown or {}).get("faults") or ())],
    }


def _show(status: Mapping[str, Any]) -> None:
    from reconciler.output import say, table

    for name, text in _facts(status):
        say(f"{name:<11} {text}")
    for problem in status["problems"]:
        say(f"{'Problem':<11} {problem}", "warn")
    if status["workers"]:
        say()
        rows = [
            [str(w["cpu"]), str(w.get("state", "")), str(w.get("entries", "")), f"{100 * w.get('slept', 0):.0f} %"]
            for w in status["workers"]
        ]
        table(("WORKER", "STATE", "ENTRIES", "SLEPT"), rows)
    if status["relays"]:
        say()
        table(("RELAY", "VF", "LINK", "GUEST", "CPUS", "CONDITION", ""), [_row(relay) for relay in status["relays"]])


def _row(relay: Mapping[str, Any]) -> list[str]:
    cpus = ", ".join(str(cpu) for cpu in relay["cpus"]) if relay["cpus"] else "-"
    guest = "connected" if relay["guest"] else "-"
    return [
        str(relay["id"]),
        relay["vf"],
        relay["link"] or "-",
        guest,
        cpus,
        str(relay["condition"]),
        relay["message"],
    ]


def _facts(status: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    engine, watch = status["engine"], status["watch"]
    if engine is not None:
        yield "Engine", f"{engine['version']} (DPDK {engine['dpdk']}), {engine['state']}, pid {engine['pid']}"
        yield "", f"boot id {engine['boot_id']}, generation {engine['generation']}, memory {engine['memory']}"
    if watch is None:
        return
    yield "Watch", f"{watch['file']}, {'pid ' + str(watch['pid']) if watch['running'] else 'not running any more'}"
    yield from _spec_facts(watch)
    last = watch.get("last_apply")
    if last is not None:
        yield "Last apply", f"{_clock(last['time'])}: {last['verdict']}{last['message'] and ', '}{last['message']}"
    if watch["running"] and watch.get("next_retry"):
        yield "Next retry", f"in {max(0.0, watch['next_retry'] - time.time()):.0f} s"


def _spec_facts(watch: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    force, refused = watch.get("in_force"), watch.get("refused")
    if force is None:
        yield "In force", "no spec was accepted yet"
    else:
        kept = "" if force["origin"] == "file" else ", as it was before the last start"
        yield "In force", f"sha256 {force['sha256'][:12]}, since {_clock(force['since'])}{kept}"
    if refused is not None:
        first, *more = refused["problems"]
        yield "Refused", f"what stands in the file since {_clock(refused['since'])}, because of"
        yield from (("", line) for line in (first, *more))


def _clock(seconds: float) -> str:
    from reconciler.output import clock

    return clock(seconds)
