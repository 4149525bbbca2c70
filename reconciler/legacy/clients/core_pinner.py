"""virtioforwarder_core_pinner.py: shows which worker CPU serves which relay, and moves relays.

`--virtio-cpu=42:1,2` has relay 42's packets to the VM on CPU 1, those from it on CPU 2, as in the configuration file;
one CPU serves both.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from reconciler.legacy.clients.wire import CORE_SCHED, STATS, NoReply, Service
from reconciler.legacy.virtioforwarder_pb2 import CoreSchedRequest, CoreSchedResponse, StatsRequest, StatsResponse

_PIN = re.compile(r"(\d{1,9}):(\d{1,9})(?:,(\d{1,9}))?")


def pin(text: str) -> CoreSchedRequest.RelayCPU:
    """`<id>:<cpu>[,<cpu>]`."""
    found = _PIN.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"'{text}' is no pin; write it as 42:1,2")
    relay, first, second = found[1], found[2], found[3] or found[2]
    return CoreSchedRequest.RelayCPU(relay_number=int(relay), vf2virtio_cpu=int(first), virtio2vf_cpu=int(second))


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="virtioforwarder_core_pinner.py")
    parser.add_argument("--stats-ep", default=STATS, help=f"the statistics endpoint (default: {STATS})")
    parser.add_argument("--sched-ep", default=CORE_SCHED, help=f"the core scheduler endpoint (default: {CORE_SCHED})")
    parser.add_argument(
        "--virtio-cpu", default=[], action="append", type=pin, help="a relay's CPUs, VF to VM first: 42:1,2"
    )
    parser.add_argument("--print-core-map", action="store_true", help="show which CPU serves what, and end")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    asked = arguments().parse_args(argv)
    try:
        with Service(asked.stats_ep or STATS) as stats, Service(asked.sched_ep or CORE_SCHED) as sched:
            cores = sched.ask(CoreSchedRequest(op=CoreSchedRequest.GET_EAL_CORES), CoreSchedResponse())
            if asked.print_core_map or not asked.virtio_cpu:
                print("Worker cores affinities:")
                return _show(stats, cores.eal_cores)
            worked = _update(sched, asked.virtio_cpu)
            print("New worker core mapping:")
            return _show(stats, cores.eal_cores) or (0 if worked else 1)
    except NoReply as error:
        print(error, file=sys.stderr)
        return 1


def _update(sched: Service, pins: Sequence[CoreSchedRequest.RelayCPU]) -> bool:
    for each in pins:
        print(f"Setting relay {each.relay_number}={each.vf2virtio_cpu},{each.virtio2vf_cpu}")
    reply = sched.ask(CoreSchedRequest(op=CoreSchedRequest.UPDATE, relay_cpu_map=pins), CoreSchedResponse())
    worked = reply.status == CoreSchedResponse.OK
    why = f" ({reply.error_code_source})" if reply.error_code_source else ""
    print(f"Scheduler response: {'OK' if worked else 'ERROR' + why}")
    return worked


def _show(stats: Service, workers: Sequence[int]) -> int:
    reply = stats.ask(StatsRequest(include_inactive=False), StatsResponse())
    for line in core_map(reply, workers):
        print(line)
    return 0


def core_map(reply: StatsResponse, workers: Sequence[int]) -> Iterator[str]:
    """The map as a table with a column for each worker: on its left what it takes from VMs, on its right from VFs."""
    columns = {worker: ([], []) for worker in workers}  # type: dict[int, tuple[list[int], list[int]]]
    for relay in reply.relay:
        for cpu, side in ((relay.cpu.vm_to_vf, 0), (relay.cpu.vf_to_vm, 1)):
            if cpu in columns:
                columns[cpu][side].append(relay.id)
    rule = "=" * (8 * len(columns) + 3 * (len(columns) - 1))
    yield rule
    yield "".join(f"== {worker:02d} ==   " for worker in columns).rstrip()
    sides = [side for column in columns.values() for side in column]
    for row in zip_longest(*sides):
        cells = ["  " if each is None else f"{each:02d}" for each in row]
        pairs = zip(cells[::2], cells[1::2], strict=True)
        yield "".join(f"{left}    {right}   " for left, right in pairs).rstrip()
    yield rule


if __name__ == "__main__":
    sys.exit(main())
