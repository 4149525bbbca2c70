"""`vio4wd status`: what is live, which spec is in force, and what is wrong."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from reconciler.terminal.arguments import json_argument

if TYPE_CHECKING:
    from engine.api.live import LivePort
    from reconciler.policy.pause import Pause
    from reconciler.status.collect import HostStatus, WorkerStatus
    from reconciler.status.conditions import RelayStatus
    from reconciler.status.report import Report

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
    from reconciler.status.collect import collect
    from reconciler.terminal.output import emit
    from schema.paths import run_dir, state_dir

    status = collect(run_dir(), state_dir())
    if asked.json:
        emit(status.to_json())
    else:
        _show(status)
    return 0 if status.engines else 1


def _show(status: HostStatus) -> None:
    from reconciler.terminal.output import say

    for name, text in _facts(status):
        say(f"{name:<11} {text}")
    for problem in status.problems:
        say(f"{'Problem':<11} {problem}", "warn")
    if status.workers:
        say()
        rows = [
            [str(worker.cpu), worker.state, str(worker.entries), f"{100 * worker.slept:.0f} %"]
            for worker in status.workers
        ]
        _table(("WORKER", "STATE", "ENTRIES", "SLEPT"), rows, _shards(status, status.workers))
    if status.relays:
        say()
        _table(RELAY_NAMES, [_row(relay) for relay in status.relays], _shards(status, status.relays))
    _show_ports(status.relays)
    _show_members(status.relays)


def _show_ports(relays: Sequence[RelayStatus]) -> None:
    """What is polled, of the relays that are live."""
    from reconciler.terminal.output import say, table

    rows = [[str(relay.id), *_port(relay.port)] for relay in relays if relay.port is not None and relay.port.mac]
    if rows:
        say()
        table(PORT_NAMES, rows)


def _port(port: LivePort) -> list[str]:
    node = str(port.numa) if port.numa is not None and port.numa >= 0 else "-"
    mtu = str(port.mtu) if port.mtu is not None else "-"
    return [port.mac or "-", mtu, "yes" if port.promiscuous else "-", node, port.driver or "-"]


def _show_members(relays: Sequence[RelayStatus]) -> None:
    """The members of bonds, if there are any."""
    from reconciler.terminal.output import say, table

    rows = [
        [str(relay.id), member.name, member.link, "yes" if member.active else "-"]
        for relay in relays
        for member in relay.members
    ]
    if rows:
        say()
        table(("RELAY", "MEMBER", "LINK", "ACTIVE"), rows)


def _shards(status: HostStatus, of: Sequence[RelayStatus | WorkerStatus]) -> list[str]:
    """The shard of each of these; nothing where there is only one, which is then not worth a word."""
    several = len(status.engines) > 1 or any(relay.shard for relay in status.relays)
    return [str(each.shard) for each in of] if several else []


def _table(names: tuple[str, ...], rows: list[list[str]], shards: list[str]) -> None:
    """With a second column for the shards, if there are any."""
    from reconciler.terminal.output import table

    if shards:
        names = (names[0], "SHARD", *names[1:])
        rows = [[row[0], shard, *row[1:]] for row, shard in zip(rows, shards, strict=True)]
    table(names, rows)


def _row(relay: RelayStatus) -> list[str]:
    from reconciler.terminal.output import ago

    cpus = ", ".join(str(cpu) for cpu in relay.cpus) if relay.cpus else "-"
    guest = "migrating" if relay.migrating else "connected" if relay.guest else "-"
    condition, since = str(relay.condition), ago(relay.since)
    return [str(relay.id), relay.vf, relay.link or "-", guest, cpus, condition, since, _remark(relay)]


def _remark(relay: RelayStatus) -> str:
    owner = f"owner: {relay.owner}" if relay.owner != "file" else ""
    return "; ".join(part for part in (relay.message, owner) if part)


def _facts(status: HostStatus) -> Iterator[tuple[str, str]]:
    report = status.report
    for engine in status.engines:
        which = f", shard {engine.shard}" if len(status.engines) > 1 else ""
        yield "Engine", f"{engine.version} (DPDK {engine.dpdk}), {engine.state}, pid {engine.pid}{which}"
        yield "", f"boot id {engine.boot_id}, generation {engine.generation}, memory {engine.memory}"
    if status.idle_sockets:
        yield "Sockets", f"{status.idle_sockets} that no relay uses yet (owner: template)"
    if status.pause is not None:
        yield from _pause_facts(status.pause, report.waiting if report is not None else ())
    if report is None:
        return
    yield "Watch", f"{report.file}, {f'pid {report.pid}' if status.watch_runs else 'not running any more'}"
    yield from _spec_facts(report)
    last = report.last_apply
    if last is not None:
        yield "Last apply", f"{_clock(last.time)}: {last.verdict}{last.message and ', '}{last.message}"
    if status.watch_runs and report.next_retry:
        yield "Next retry", f"in {max(0.0, report.next_retry - time.time()):.0f} s"


def _pause_facts(pause: Pause, waiting: Sequence[str]) -> Iterator[tuple[str, str]]:
    from reconciler.planning.describe import number_of

    yield "Paused", f"by {pause.who} since {_clock(pause.since)}{pause.reason and ': '}{pause.reason}"
    yield "", f"waiting for vio4wd resume: {number_of(len(waiting), 'change') if waiting else 'nothing'}"
    yield from (("", f"  {line}") for line in waiting[:SHOWN_CHANGES])
    if len(waiting) > SHOWN_CHANGES:
        yield "", f"  and {len(waiting) - SHOWN_CHANGES} more; vio4wd plan shows them all"


def _spec_facts(report: Report) -> Iterator[tuple[str, str]]:
    force, refused = report.in_force, report.refused
    if force is None:
        yield "In force", "no spec was accepted yet"
    else:
        kept = "" if force.origin == "file" else ", as it was before the last start"
        yield "In force", f"sha256 {force.sha256[:12]}, since {_clock(force.since)}{kept}"
        for source in force.sources:
            yield "Source", f"{source.name}{source.applied and ', revision '}{source.applied[:12]}"
    if refused is not None:
        yield "Refused", f"what stands in the file since {_clock(refused.since)}, because of"
        yield from (("", line) for line in refused.problems)
    if report.instead:
        yield "Instead", f"what was live before, because {report.instead};"
        yield "", "this content is not tried again until it changes, or somebody applies it"
    for number, line in enumerate(report.drift):
        yield "" if number else "Drift", f"to be set right, as drift: report leaves it: {line}"


def _clock(seconds: float) -> str:
    from reconciler.terminal.output import clock

    return clock(seconds)
