"""virtioforwarder_monitor_load.py: a bar for the load of each worker CPU, until Ctrl-C.

Which CPUs there are and what they serve comes from the services; the load is what the engine measured on this host, the
share of time that a CPU was busy with packets. virtio-forwarder estimated it from packet rates.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence

from engine.api.client import EngineError, EngineUnavailable
from reconciler.legacy.clients.wire import CORE_SCHED, STATS, NoReply, Service
from reconciler.legacy.virtioforwarder_pb2 import CoreSchedRequest, CoreSchedResponse, StatsRequest, StatsResponse
from reconciler.observe.engines import Engines
from reconciler.observe.rates import DIRECTIONS, RelayRates, rates, together
from reconciler.terminal.arguments import positive
from schema.paths import run_dir, state_dir

FULL_BAR = 60
CLEAR = "\x1b[H\x1b[2J"


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="virtioforwarder_monitor_load.py")
    parser.add_argument("--stats-ep", default=STATS, help=f"the statistics endpoint (default: {STATS})")
    parser.add_argument("--sched-ep", default=CORE_SCHED, help=f"the core scheduler endpoint (default: {CORE_SCHED})")
    parser.add_argument("--poll-interval", type=positive, default=2.0, help="in seconds (default: 2)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    asked = arguments().parse_args(argv)
    try:
        while True:
            shown = _once(asked)
            print(f"{CLEAR if sys.stdout.isatty() else ''}CPU loads")
            for line in shown:
                print(line, flush=True)
    except KeyboardInterrupt:
        return 0


def _once(asked: argparse.Namespace) -> list[str]:
    """The bars over one interval; instead of them what is wrong, for as long as it is."""
    try:
        with Engines(run_dir(), state_dir()) as engines:
            before = together(engines.counters())
            time.sleep(asked.poll_interval)
            measured = rates(before, together(engines.counters())).relays
        with Service(asked.stats_ep or STATS) as stats, Service(asked.sched_ep or CORE_SCHED) as sched:
            cores = sched.ask(CoreSchedRequest(op=CoreSchedRequest.GET_EAL_CORES), CoreSchedResponse()).eal_cores
            served = stats.ask(StatsRequest(include_inactive=False), StatsResponse())
        return list(bars(cores, served, measured))
    except (NoReply, EngineError, EngineUnavailable) as error:
        time.sleep(asked.poll_interval)
        return [str(error)]


def bars(cores: Sequence[int], served: StatsResponse, measured: Mapping[int, RelayRates]) -> Iterator[str]:
    """A line for each worker CPU; a load of 1.0 is a whole CPU."""
    loads = dict.fromkeys(cores, 0.0)
    for relay in served.relay:
        for way in DIRECTIONS:
            cpu = getattr(relay.cpu, way)
            if cpu in loads and relay.id in measured:
                loads[cpu] += getattr(measured[relay.id], way).load
    for cpu, load in loads.items():
        yield f"CPU{cpu}: {'-' * round(min(load, 1.0) * FULL_BAR)}"


if __name__ == "__main__":
    sys.exit(main())
