"""Counters as the engine gives them, and what two readings of them make: rates are the reader's subtraction."""

from __future__ import annotations

from collections.abc import Mapping
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


def rates(before: Counters, after: Counters) -> dict[str, Any]:
    """Per second, between two answers of `counters`: for each relay that is in both, its directions with `rx_pps`,
    `rx_bps` (bits), `tx_pps`, `tx_bps`, `dropped_pps` and `load` (the busy share of a CPU, 0 to 1).

    A relay that was added anew between the two counts from zero again and is left out.
    """
    tsc_hz = after["tsc_hz"]
    seconds = (after["now_tsc"] - before["now_tsc"]) / tsc_hz
    relays: dict[str, Any] = {}
    for relay, now in after["relays"].items():
        then = before["relays"].get(relay)
        if then is None or _counts_anew(then, now):
            continue
        own_s = (now.get("now_tsc", after["now_tsc"]) - then.get("now_tsc", before["now_tsc"])) / tsc_hz
        if own_s > 0:
            relays[relay] = {way: _rate(then[way], now[way], own_s, tsc_hz) for way in DIRECTIONS}
    return {"seconds": max(0.0, seconds), "relays": relays}


def _counts_anew(before: Counters, after: Counters) -> bool:
    return any(after[way]["rx_packets"] < before[way]["rx_packets"] for way in DIRECTIONS)


def _rate(before: Counters, after: Counters, seconds: float, tsc_hz: float) -> dict[str, float]:
    def per_second(name: str) -> float:
        return float(after[name] - before[name]) / seconds

    return {
        "rx_pps": per_second("rx_packets"),
        "rx_bps": 8 * per_second("rx_bytes"),
        "tx_pps": per_second("tx_packets"),
        "tx_bps": 8 * per_second("tx_bytes"),
        "dropped_pps": (dropped_packets(after) - dropped_packets(before)) / seconds,
        "load": per_second("busy_cycles") / tsc_hz,
    }
