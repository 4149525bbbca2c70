"""`vio4wd status`: what is live, which spec is in force, and what is wrong."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reconciler.terminal.arguments import json_argument

if TYPE_CHECKING:
    from reconciler.observe.snapshot import HostSnapshot

NAME = "status"
HELP = "show the engine, its relays, which spec is in force, and why a newer one is refused"
EPILOG = """\
Ready: packets can pass. Pending: not applied yet, or no guest is there. Degraded: something is broken, and is named.
GUEST is connected, or migrating while QEMU moves the guest to another host.
Exit code 1 when no engine answers.

Examples:
  vio4wd status
  vio4wd status --json | jq '.relays[] | select(.condition != "Ready")'
"""
SHOWN_CHANGES = 6
RELAY_NAMES = ("RELAY", "VF", "LINK", "GUEST", "CPUS", "CONDITION", "SINCE", "")
PORT_NAMES = ("RELAY", "MAC", "MTU", "PROMISCUOUS", "NODE", "DRIVER")


def arguments(parser: argparse.ArgumentParser) -> None:
    json_argument(parser)


def execute(asked: argparse.Namespace) -> int:
    from reconciler.terminal.output import emit

    status = collect()
    if asked.json:
        emit(status)
    else:
        _show(status)
    return 0 if status["engine"] is not None else 1


def collect() -> dict[str, Any]:
    """The whole of it as JSON has it. `engine`, the first that answers, and `watch` are None when they are absent."""
    from dataclasses import asdict

    from reconciler.observe.engines import Engines
    from reconciler.policy.pause import read_pause
    from reconciler.runtime.lock import WATCH, is_held
    from reconciler.status.conditions import relay_statuses
    from reconciler.status.report import read_report
    from reconciler.status.transitions import with_since
    from schema.paths import run_dir, state_dir

    with Engines(run_dir(), state_dir()) as fleet:
        snapshot = fleet.observe()
        engines = [asdict(hello) for _, hello in sorted(fleet.heard.items())]
        problems = _engine_problems(fleet.faults)
    pause = read_pause(state_dir())
    running = is_held(run_dir() / WATCH)
    report = read_report(run_dir())
    if not running:
        problems.append("no watch is running: the engine stays as it is, whatever the file says")
    shown = report if running else None
    relays = with_since(relay_statuses(snapshot, shown), (shown or {}).get("standings") or {})
    problems += _missing_shards({relay.shard for relay in relays}, snapshot)
    return {
        "engine": engines[0] if engines else None,
        "engines": engines,
        "paused": asdict(pause) if pause is not None else None,
        "watch": {"running": running, **report} if report is not None else None,
        "workers": _workers(snapshot),
        "relays": [asdict(relay) for relay in relays],
        "idle_sockets": _idle_sockets(snapshot),
        "problems": [*problems, *_unconfirmed(), *_source_problems(shown), *_faults(shown or {})],
    }


def _idle_sockets(snapshot: HostSnapshot) -> int:
    """How many of the template's no relay uses."""
    return sum(
        len(state.sockets.keys() - {relay.socket for relay in state.relays.values()})
        for state in snapshot.states.values()
    )


def _source_problems(report: Mapping[str, Any] | None) -> list[str]:
    force = (report or {}).get("in_force") or {"sources": (), "left_out": ()}
    stay = [f"{s['name']} stays as it was: {s['problem']}" for s in force["sources"] if s["problem"]]
    return [*stay, *force["left_out"]]


def _faults(report: Mapping[str, Any]) -> list[str]:
    return [*(report.get("faults") or ()), *(report.get("threads") or {}).values()]


def _unconfirmed() -> list[str]:
    """An apply that waits to be confirmed, or to be rolled back."""
    from reconciler.apply.commit_confirmed import left_words
    from schema.paths import state_dir
    from state.pending import current_pending
    from state.store import FILE, Store

    if not (state_dir() / FILE).exists():
        return []
    store = Store(state_dir())
    left = current_pending(store)
    store.close()
    return [left_words(left)] if left is not None else []


def _engine_problems(faults: Mapping[int, Exception]) -> list[str]:
    from engine.api.client import EngineError

    fault = faults.get(0)
    if isinstance(fault, EngineError) and fault.code == "not-ready":
        return ["the engine is starting"]
    return [str(fault)] if fault is not None else []


def _missing_shards(shards: set[int], snapshot: HostSnapshot) -> list[str]:
    """Of the first one something else is said."""
    from reconciler.planning.host_plan import missing_words

    absent = sorted(shard for shard in shards | set(snapshot.silent) if shard and shard not in snapshot.seen)
    return [snapshot.silent.get(shard, missing_words(shard)) for shard in absent]


def _workers(snapshot: HostSnapshot) -> list[dict[str, Any]]:
    live = {shard: seen.live.get("workers", {}) for shard, seen in snapshot.seen.items()}
    found = [(int(cpu), shard, facts) for shard, workers in live.items() for cpu, facts in workers.items()]
    return [{"cpu": cpu, "shard": shard, **facts} for cpu, shard, facts in sorted(found, key=lambda w: w[:2])]


def _show(status: Mapping[str, Any]) -> None:
    from reconciler.terminal.output import say

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
        _table(("WORKER", "STATE", "ENTRIES", "SLEPT"), rows, _shards(status, "workers"))
    if status["relays"]:
        say()
        _table(RELAY_NAMES, [_row(relay) for relay in status["relays"]], _shards(status, "relays"))
    _show_ports(status["relays"])
    _show_members(status["relays"])


def _show_ports(relays: Sequence[Mapping[str, Any]]) -> None:
    """What is polled, of the relays that are live."""
    from reconciler.terminal.output import say, table

    rows = [[str(relay["id"]), *_port(relay["port"])] for relay in relays if relay["port"]]
    if rows:
        say()
        table(PORT_NAMES, rows)


def _port(port: Mapping[str, Any]) -> list[str]:
    node = str(port["numa"]) if port.get("numa", -1) >= 0 else "-"
    promiscuous = "yes" if port.get("promiscuous") else "-"
    return [str(port.get("mac", "-")), str(port.get("mtu", "-")), promiscuous, node, str(port.get("driver", "-"))]


def _show_members(relays: Sequence[Mapping[str, Any]]) -> None:
    """The members of bonds, if there are any."""
    from reconciler.terminal.output import say, table

    rows = [
        [str(relay["id"]), str(member["name"]), str(member["link"]), "yes" if member["active"] else "-"]
        for relay in relays
        for member in relay["members"]
    ]
    if rows:
        say()
        table(("RELAY", "MEMBER", "LINK", "ACTIVE"), rows)


def _shards(status: Mapping[str, Any], of: str) -> list[str]:
    """The shard of each of these; nothing where there is only one, which is then not worth a word."""
    several = len(status["engines"]) > 1 or any(relay["shard"] for relay in status["relays"])
    return [str(each["shard"]) for each in status[of]] if several else []


def _table(names: tuple[str, ...], rows: list[list[str]], shards: list[str]) -> None:
    """With a second column for the shards, if there are any."""
    from reconciler.terminal.output import table

    if shards:
        names = (names[0], "SHARD", *names[1:])
        rows = [[row[0], shard, *row[1:]] for row, shard in zip(rows, shards, strict=True)]
    table(names, rows)


def _row(relay: Mapping[str, Any]) -> list[str]:
    from reconciler.terminal.output import ago

    cpus = ", ".join(str(cpu) for cpu in relay["cpus"]) if relay["cpus"] else "-"
    guest = "migrating" if relay["migrating"] else "connected" if relay["guest"] else "-"
    return [
        str(relay["id"]),
        relay["vf"],
        relay["link"] or "-",
        guest,
        cpus,
        str(relay["condition"]),
        ago(relay["since"]),
        _remark(relay),
    ]


def _remark(relay: Mapping[str, Any]) -> str:
    owner = f"owner: {relay['owner']}" if relay["owner"] != "file" else ""
    return "; ".join(part for part in (relay["message"], owner) if part)


def _facts(status: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    watch = status["watch"]
    for engine in status["engines"]:
        which = f", shard {engine['shard']}" if len(status["engines"]) > 1 else ""
        yield "Engine", f"{engine['version']} (DPDK {engine['dpdk']}), {engine['state']}, pid {engine['pid']}{which}"
        yield "", f"boot id {engine['boot_id']}, generation {engine['generation']}, memory {engine['memory']}"
    if status["idle_sockets"]:
        yield "Sockets", f"{status['idle_sockets']} that no relay uses yet (owner: template)"
    yield from _pause_facts(status)
    if watch is None:
        return
    yield "Watch", f"{watch['file']}, {'pid ' + str(watch['pid']) if watch['running'] else 'not running any more'}"
    yield from _spec_facts(watch)
    last = watch.get("last_apply")
    if last is not None:
        yield "Last apply", f"{_clock(last['time'])}: {last['verdict']}{last['message'] and ', '}{last['message']}"
    if watch["running"] and watch.get("next_retry"):
        yield "Next retry", f"in {max(0.0, watch['next_retry'] - time.time()):.0f} s"


def _pause_facts(status: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    from reconciler.runtime.wording import number_of

    pause, waiting = status["paused"], (status["watch"] or {}).get("waiting") or ()
    if pause is None:
        return
    yield "Paused", f"by {pause['who']} since {_clock(pause['since'])}{pause['reason'] and ': '}{pause['reason']}"
    yield "", f"waiting for vio4wd resume: {number_of(len(waiting), 'change') if waiting else 'nothing'}"
    yield from (("", f"  {line}") for line in waiting[:SHOWN_CHANGES])
    if len(waiting) > SHOWN_CHANGES:
        yield "", f"  and {len(waiting) - SHOWN_CHANGES} more; vio4wd plan shows them all"


def _spec_facts(watch: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    force, refused = watch.get("in_force"), watch.get("refused")
    if force is None:
        yield "In force", "no spec was accepted yet"
    else:
        kept = "" if force["origin"] == "file" else ", as it was before the last start"
        yield "In force", f"sha256 {force['sha256'][:12]}, since {_clock(force['since'])}{kept}"
        for source in force["sources"]:
            yield "Source", f"{source['name']}{source['applied'] and ', revision '}{source['applied'][:12]}"
    if refused is not None:
        first, *more = refused["problems"]
        yield "Refused", f"what stands in the file since {_clock(refused['since'])}, because of"
        yield from (("", line) for line in (first, *more))
    if watch.get("instead"):
        yield "Instead", f"what was live before, because {watch['instead']};"
        yield "", "this content is not tried again until it changes, or somebody applies it"
    for number, line in enumerate(watch.get("drift") or ()):
        yield "" if number else "Drift", f"to be set right, as drift: report leaves it: {line}"


def _clock(seconds: float) -> str:
    from reconciler.terminal.output import clock

    return clock(seconds)
