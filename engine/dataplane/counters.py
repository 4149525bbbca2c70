"""What was counted, read without asking the workers: each word has one writer and is never reset."""

from __future__ import annotations

import struct
from typing import Any

from engine.burst.compiled import layout as at
from engine.burst.compiled.memory import Block
from engine.dataplane.ports import Ports
from engine.dataplane.relays import Relays

_FORMAT = f"<{len(at.COUNTERS)}Q"


def direction(entry: Block) -> dict[str, int]:
    """One direction's counters by name; packets and bytes are counts, busy_cycles are TSC cycles."""
    values = struct.unpack(_FORMAT, entry.read_bytes(at.ENTRY_COUNTERS, struct.calcsize(_FORMAT)))
    return dict(zip(at.COUNTERS, values, strict=True))


def port(ports: Ports, name: str) -> dict[str, int]:
    """What the NIC counted itself; empty when the port cannot say."""
    stats = ports.stats(name)
    if stats is None:
        return {}
    return {
        "imissed": stats.imissed,
        "ierrors": stats.ierrors,
        "rx_nombuf": stats.rx_nombuf,
        "oerrors": stats.oerrors,
    }


def relays(ports: Ports, live: Relays) -> dict[str, Any]:
    """Every relay's counters, by its id as text."""
    return {
        str(relay_id): {
            "vf_to_vm": direction(each.vf_to_vm),
            "vm_to_vf": direction(each.vm_to_vf),
            "port": port(ports, each.relay.port),
        }
        for relay_id, each in sorted(live.by_id.items())
    }
