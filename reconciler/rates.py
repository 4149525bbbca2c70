"""Counters as the engine gives them, and what two readings of them make: rates are the reader's subtraction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DIRECTIONS = ("vf_to_vm", "vm_to_vf")
REASONS = ("guest_absent", "guest_full", "vf_absent", "vf_full")
Counters = Mapping[str, Any]


def dropped_packets(way: Counters) -> int:
    """All that a direction dropped, for whatever reason."""
    return sum(int(way.get(f"{reason}_packets", 0)) for reason in REASONS)


def rates(before: Counters, after: Counters) -> dict[str, Any]:
    """Per second, between two answers of `counters`: for each relay that is in both, its directions with `rx_pps`,
    `rx_bps` (bits), `tx_pps`, `tx_bps`, `dropped_pps` and `load` (the busy share of a CPU, 0 to 1).

    A relay that was added anew between the two counts from zero again and is left out.
    """
    seconds = (after["now_tsc"] - before["now_tsc"]) / after["tsc_hz"]
    if seconds <= 0:
        return {"seconds": 0.0, "relays": {}}
    relays = {
        relay: {way: _rate(before["relays"][relay][way], now[way], seconds, after["tsc_hz"]) for way in DIRECTIONS}
        for relay, now in after["relays"].items()
        if relay in before["relays"] and not _counts_anew(before["relays"][relay], now)
    }
    return {"seconds": seconds, "relays": relays}


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
