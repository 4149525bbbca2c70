"""Rates are the reader's subtraction; their keys in JSON are those that programs read."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from reconciler.observe.rates import REASONS, rates


def counted(now_tsc: int, frames: int, relays: tuple[int, ...] = (3,)) -> dict[str, Any]:
    """An engine with a clock of 1000 Hz, whose directions have moved so many frames of 100 B and dropped one each."""
    way = {"rx_packets": frames, "rx_bytes": 100 * frames, "tx_packets": frames, "tx_bytes": 100 * frames}
    way |= {"busy_cycles": now_tsc // 2, **{f"{reason}_packets": 0 for reason in REASONS}, "vf_full_packets": frames}
    return {
        "tsc_hz": 1000,
        "now_tsc": now_tsc,
        "relays": {str(id_): {"vf_to_vm": way, "vm_to_vf": way} for id_ in relays},
    }


def test_of_relays_that_are_in_both() -> None:
    found = json.loads(json.dumps(asdict(rates(counted(1000, 10), counted(3000, 30, (3, 4))))))
    way = {"rx_pps": 10.0, "rx_bps": 8000.0, "tx_pps": 10.0, "tx_bps": 8000.0, "dropped_pps": 10.0, "load": 0.5}
    assert found == {"seconds": 2.0, "relays": {"3": {"vf_to_vm": way, "vm_to_vf": way}}}


def test_one_that_counts_anew_is_left_out() -> None:
    assert rates(counted(1000, 10), counted(3000, 5)).relays == {}
