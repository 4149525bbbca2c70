"""All that `vio4wd status` says, collected from the engines, the watch's report and what is remembered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.api.client import EngineError, Hello
from reconciler.apply.commit_confirmed import left_words
from reconciler.observe.engines import Engines, HostSnapshot
from reconciler.planning.host_plan import missing_words
from reconciler.policy.pause import Pause, read_pause
from reconciler.status.conditions import RelayStatus, relay_statuses, with_since
from reconciler.status.report import Report, read_report
from schema.system.locks import WATCH, is_held
from state.applied import current_pending
from state.store import FILE, Store


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    cpu: int
    shard: int
    state: str
    entries: int
    slept: float
    """Share of the time."""
    astray: str = ""
    """Why it does not run on its CPU, in words."""

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if name != "astray" or value}


@dataclass(frozen=True, slots=True)
class HostStatus:
    engines: tuple[Hello, ...]
    """Those that answer."""
    pause: Pause | None
    watch_runs: bool
    report: Report | None
    """The latest, also of a watch that is gone."""
    workers: tuple[WorkerStatus, ...]
    relays: tuple[RelayStatus, ...]
    idle_sockets: int
    """How many of the template's no relay uses."""
    problems: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """`engine`, the first that answers, and `watch` are None when they are absent."""
        engines = [asdict(each) for each in self.engines]
        return {
            "engine": engines[0] if engines else None,
            "engines": engines,
            "paused": asdict(self.pause) if self.pause is not None else None,
            "watch": {"running": self.watch_runs, **self.report.to_json()} if self.report is not None else None,
            "workers": [each.to_json() for each in self.workers],
            "relays": [each.to_json() for each in self.relays],
            "idle_sockets": self.idle_sockets,
            "problems": self.problems,
        }


def collect(run_dir: Path, state_dir: Path) -> HostStatus:
    with Engines(run_dir, state_dir) as engines:
        snapshot = engines.observe()
        heard, faults = engines.heard, engines.faults
    runs = is_held(run_dir / WATCH)
    report = read_report(run_dir)
    current = report if runs else None
    relays = relay_statuses(snapshot, current)
    if current is not None:
        relays = with_since(relays, current.standings)
    return HostStatus(
        engines=tuple(hello for _, hello in sorted(heard.items())),
        pause=read_pause(state_dir),
        watch_runs=runs,
        report=report,
        workers=tuple(_workers(snapshot)),
        relays=tuple(relays),
        idle_sockets=_idle_sockets(snapshot),
        problems=(
            *_engine_problems(faults),
            *([] if runs else ["no watch is running: the engine stays as it is, whatever the file says"]),
            *_missing_shards({relay.shard for relay in relays}, snapshot),
            *_unconfirmed(state_dir),
            *(_watch_problems(current) if current is not None else ()),
        ),
    )


def _engine_problems(faults: Mapping[int, Exception]) -> list[str]:
    fault = faults.get(0)
    if isinstance(fault, EngineError) and fault.code == "not-ready":
        return ["the engine is starting"]
    return [str(fault)] if fault is not None else []


def _missing_shards(shards: set[int], snapshot: HostSnapshot) -> list[str]:
    """Of the first one something else is said."""
    absent = sorted(shard for shard in shards | set(snapshot.silent) if shard and shard not in snapshot.observations)
    return [snapshot.silent.get(shard, missing_words(shard)) for shard in absent]


def _unconfirmed(state_dir: Path) -> list[str]:
    """An apply that waits to be confirmed, or to be rolled back."""
    if not (state_dir / FILE).exists():
        return []
    store = Store(state_dir)
    left = current_pending(store)
    store.close()
    return [left_words(left)] if left is not None else []


def _watch_problems(report: Report) -> Iterator[str]:
    if report.in_force is not None:
        for source in report.in_force.sources:
            if source.problem:
                yield f"{source.name} stays as it was: {source.problem}"
        yield from report.in_force.left_out
    yield from report.faults
    yield from report.threads.values()


def _workers(snapshot: HostSnapshot) -> list[WorkerStatus]:
    """Sorted by CPU."""
    found = [
        WorkerStatus(cpu, shard, each.state, each.entries, each.slept, each.astray)
        for shard, observation in snapshot.observations.items()
        for cpu, each in observation.live.workers.items()
    ]
    return sorted(found, key=lambda worker: (worker.cpu, worker.shard))


def _idle_sockets(snapshot: HostSnapshot) -> int:
    return sum(
        len(state.sockets.keys() - {relay.socket for relay in state.relays.values()})
        for state in snapshot.states.values()
    )
