"""Counters as the engine gives them, and what two readings of them make: rates are the reader's subtraction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DIRECTIONS = ("vf_to_vm", "vm_to_vf")
REASONS = ("guest_absent", "guest_full", "vf_absent", "vf_full", "vf_unfit")
Counters = Mapping[str, Any]


def dropped_packets(way: Counters) -> int:
    """All that a direction dropped, for whatever reason."""
    return sum(int(way.get(f"{reason}_packets", 0)) for reason in REASONS)


def together(counted: Mapping[int, Counters]) -> dict[str, Any]:
    """The counters of all shards as those of one engine; each relay has its `shard`, and the `now_tsc` at which it was
    read: engines are asked one after the other, and their CPUs' TSC is one clock."""
    first = counted[min(counted)]
    relays = {
        relay: {**ways, "shard": shard, "now_tsc": counters["now_tsc"]}
        for shard, counters in sorted(counted.items())
        for relay, ways in counters["relays"].items()
    }
    return {"tsc_hz": first["tsc_hz"], "now_tsc": first["now_tsc"], "relays": relays}


@dataclass(frozen=True, slots=True)
class DirectionRates:
    """Of one direction of a relay, per second."""

    rx_pps: float = 0.0
    rx_bps: float = 0.0
    """In bits."""
    tx_pps: float = 0.0
    tx_bps: float = 0.0
    dropped_pps: float = 0.0
    load: float = 0.0
    """The busy share of a CPU, 0 to 1."""


@dataclass(frozen=True, slots=True)
class RelayRates:
    vf_to_vm: DirectionRates = DirectionRates()
    vm_to_vf: DirectionRates = DirectionRates()


@dataclass(frozen=True, slots=True)
class Rates:
    seconds: float
    """Over which they were measured."""
    relays: Mapping[int, RelayRates]
    """By relay id."""


def rates(before: Counters, after: Counters) -> Rates:
    """Between two answers of `counters`, of each relay that is in both. One that was added anew between the two counts
    from zero again and is left out."""
    tsc_hz = after["tsc_hz"]
    seconds = (after["now_tsc"] - before["now_tsc"]) / tsc_hz
    relays: dict[int, RelayRates] = {}
    for relay, now in after["relays"].items():
        then = before["relays"].get(relay)
        if then is None or _counts_anew(then, now):
            continue
        own_s = (now.get("now_tsc", after["now_tsc"]) - then.get("now_tsc", before["now_tsc"])) / tsc_hz
        if own_s > 0:
            relays[int(relay)] = RelayRates(*(_rate(then[way], now[way], own_s, tsc_hz) for way in DIRECTIONS))
    return Rates(max(0.0, seconds), relays)


def _counts_anew(before: Counters, after: Counters) -> bool:
    return any(after[way]["rx_packets"] < before[way]["rx_packets"] for way in DIRECTIONS)


def _rate(before: Counters, after: Counters, seconds: float, tsc_hz: float) -> DirectionRates:
    def per_second(name: str) -> float:
        return float(after[name] - before[name]) / seconds

    return DirectionRates(
        rx_pps=per_second("rx_packets"),
        rx_bps=8 * per_second("rx_bytes"),
        tx_pps=per_second("tx_packets"),
        tx_bps=8 * per_second("tx_bytes"),
        dropped_pps=(dropped_packets(after) - dropped_packets(before)) / seconds,
        load=per_second("busy_cycles") / tsc_hz,
    )
