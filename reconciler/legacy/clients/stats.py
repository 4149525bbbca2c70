"""virtioforwarder_stats.py: what the relays counted, as lines for grep (`flat`) or as protobuf prints it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence

from google.protobuf.message import Message

from reconciler.legacy.clients.wire import STATS, TIMEOUT_MS, NoReply, Service
from reconciler.legacy.virtioforwarder_pb2 import RelayState, StatsRequest, StatsResponse

WAYS = {"vf_to_vm": ("vf", "vm"), "vm_to_vf": ("vm", "vf")}
PROGRAM = "virtioforwarder_stats.py"


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM)
    parser.add_argument("--stats-ep", default=STATS, help=f"the service's endpoint (default: {STATS})")
    parser.add_argument("--include-inactive", action="store_true", help="inactive relays too")
    parser.add_argument("--delay", type=int, default=200, help="over how many ms rates are taken (default: 200)")
    parser.add_argument("--output-format", choices=("flat", "protobuf"), default="flat")
    parser.add_argument(
        "-z", "--suppress-zero", action="store_true", help="leave out counters that are zero (flat only)"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    asked = arguments().parse_args(argv)
    try:
        request = StatsRequest(include_inactive=asked.include_inactive, delay=asked.delay)
    except ValueError:
        print(f"--delay: {asked.delay} is no number of milliseconds", file=sys.stderr)
        return 1
    try:
        with Service(asked.stats_ep or STATS, TIMEOUT_MS + asked.delay) as service:
            reply = service.ask(request, StatsResponse())
    except NoReply as error:
        print(error, file=sys.stderr)
        return 1
    if asked.output_format == "protobuf":
        print(reply)
        return 0
    if reply.status != StatsResponse.OK:
        print(f"ERROR:{PROGRAM}:StatsResponse: {StatsResponse.Status.Name(reply.status)}", file=sys.stderr)
        return 1
    for relay in reply.relay:
        for line in flat(relay, asked.suppress_zero):
            print(line)
    return 0


def flat(relay: RelayState, suppress_zero: bool) -> Iterator[str]:
    """A relay's lines, in the order and spelling that scripts grep for. What is not set has no line."""
    prefix = f"relay_{relay.id}"
    yield from _lines(prefix, relay, ("active",), suppress_zero)
    yield from _lines(f"{prefix}.cpu", relay.cpu, ("vf_to_vm", "vm_to_vf"), suppress_zero)
    yield from _lines(f"{prefix}.vf", relay.vf, ("pci_addr_str",), suppress_zero)
    yield from _lines(f"{prefix}.vhost", relay.vhost, ("vhost_socket_name",), suppress_zero)
    for way, (source, sink) in WAYS.items():
        direction = getattr(relay, way)
        yield from _lines(f"{prefix}.{way}", direction, ("active", "internal_state"), suppress_zero)
        on_cpu = f".cpu_{getattr(relay.cpu, way)}" if relay.cpu.HasField(way) else ""
        yield from _lines(f"{prefix}.{way}{on_cpu}", direction, _counters(source, sink), suppress_zero)


def _counters(source: str, sink: str) -> Iterator[str]:
    moved = [f"rx_from_{source}", f"tx_to_{sink}"]
    yield from (f"{unit}_{way}" for way in moved for unit in ("pkts", "bytes"))
    yield from (f"{unit}_rate_{way}" for way in moved for unit in ("pkt", "byte"))
    dropped = [f"dropped_{sink}_{reason}" for reason in ("queue_full", "not_connected")]
    yield from (f"{unit}_{reason}" for reason in dropped for unit in ("pkts", "bytes"))


def _lines(prefix: str, message: Message, names: Iterator[str] | tuple[str, ...], suppress_zero: bool) -> Iterator[str]:
    for name in names:
        if not message.HasField(name):
            continue
        value = getattr(message, name)
        if not (suppress_zero and type(value) is int and value == 0):
            yield f"{prefix}.{name}={value}"


if __name__ == "__main__":
    sys.exit(main())
