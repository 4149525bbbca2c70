"""`vio4wd stats`: what was counted."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from reconciler.terminal.arguments import count, json_argument, positive

if TYPE_CHECKING:
    from reconciler.observe.engines import Engines
    from reconciler.observe.rates import RelayRates

NAME = "stats"
HELP = "show counters per relay and direction, or rates with --interval"
EPILOG = """\
Counters run since a relay was added and are never reset. Drops are counted by reason: no guest, guest full, no VF (or
its link down), VF full, unfit for it (longer than the MTU, or to be cut and with headers that lie; the column is there
when there are any); MISSED is what the NIC itself dropped because the relay or its guest could not keep up.

Examples:
  vio4wd stats
  vio4wd stats --interval 1               rates over one second
  vio4wd stats --interval 1 --count 0     again and again, until Ctrl-C
"""
DROPS = {
    "guest_absent": "NO GUEST",
    "guest_full": "GUEST FULL",
    "vf_absent": "NO VF",
    "vf_full": "VF FULL",
    "vf_unfit": "UNFIT",
}
RARE = "vf_unfit"
"""Has a column only where there are some, which else would not fit the width of a terminal."""
WAYS = {"vf_to_vm": "VF to VM", "vm_to_vf": "VM to VF"}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--interval", metavar="S", type=positive, help="show rates over S seconds")
    parser.add_argument(
        "--count", metavar="N", type=count, default=1, help="with --interval: N times (default: 1; 0: until Ctrl-C)"
    )
    json_argument(parser)


def execute(asked: argparse.Namespace) -> int:
    from reconciler.observe.engines import Engines
    from reconciler.terminal.output import emit
    from schema.paths import run_dir, state_dir

    with Engines(run_dir(), state_dir()) as engines:
        if asked.interval is not None:
            return _rates(asked, engines)
        counters = _counters(engines)
    if asked.json:
        emit(counters)
    else:
        _show_counters(counters["relays"])
    return 0


def _counters(engines: Engines) -> dict[str, Any]:
    """Of all engines; says which does not answer. Raises EngineUnavailable or EngineError when none does."""
    from reconciler.observe.rates import together
    from reconciler.terminal.output import complain

    counters = engines.counters()
    for shard in sorted(engines.faults):
        complain(f"shard {shard}: {engines.faults[shard]}")
    return together(counters)


def _rates(asked: argparse.Namespace, engines: Engines) -> int:
    from dataclasses import asdict

    from reconciler.observe.rates import rates
    from reconciler.terminal.output import emit, heard

    before = _counters(engines)
    shown = 0
    while not asked.count or shown < asked.count:
        time.sleep(asked.interval)
        after = _counters(engines)
        measured = rates(before, after)
        if asked.json:
            emit(asdict(measured))
        else:
            _show_rates(measured.relays)
        before, shown = after, shown + 1
        if not heard():
            return 1
    return 0


def _show_counters(relays: Mapping[str, Any]) -> None:
    from reconciler.observe.rates import DIRECTIONS
    from reconciler.terminal.output import number, say, table

    if not relays:
        say("No relay is live.")
        return
    seldom = any(relays[relay][way][f"{RARE}_packets"] for relay in relays for way in DIRECTIONS)
    reasons = [reason for reason in DROPS if reason != RARE or seldom]
    rows = []
    for relay in sorted(relays, key=int):
        for way in DIRECTIONS:
            counted = relays[relay][way]
            numbers = [counted[n] for n in ("rx_packets", "rx_bytes", "tx_packets", "tx_bytes")]
            drops = [counted[f"{reason}_packets"] for reason in reasons]
            missed = number(relays[relay]["port"]["imissed"]) if way == "vf_to_vm" else ""
            rows.append([relay, WAYS[way], *(number(n) for n in (*numbers, *drops)), missed])
    dropped = [DROPS[reason] for reason in reasons]
    names = ("RELAY", "WAY", "RX", "RX BYTES", "TX", "TX BYTES", *dropped, "MISSED")
    table(names, rows)


def _show_rates(relays: Mapping[int, RelayRates]) -> None:
    from reconciler.terminal.output import number, say, table

    if not relays:
        say("No relay is live.")
        return
    rows = [
        [
            str(id_),
            WAYS[way],
            number(rate.rx_pps),
            f"{rate.rx_bps / 1e6:.2f}",
            number(rate.tx_pps),
            f"{rate.tx_bps / 1e6:.2f}",
            number(rate.dropped_pps),
            f"{100 * rate.load:.0f} %",
        ]
        for id_, relay in sorted(relays.items())
        for way, rate in (("vf_to_vm", relay.vf_to_vm), ("vm_to_vf", relay.vm_to_vf))
    ]
    table(("RELAY", "WAY", "RX/S", "RX MBIT/S", "TX/S", "TX MBIT/S", "DROPPED/S", "LOAD"), rows)
