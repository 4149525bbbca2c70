"""What the read-only services answer: statistics, and which CPUs serve which relay. Pure: from what was observed and
counted to the old messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from reconciler.frontends.port_control import as_printed
from reconciler.legacy.virtioforwarder_pb2 import ConfigResponse, RelayState, StatsRequest, StatsResponse
from reconciler.observe.engines import HostSnapshot
from reconciler.observe.rates import DirectionRates, RelayRates, rates
from schema.model import MAX_RELAYS

NO_SOCKET = "NONE"
ANY_NODE = 0xFFFFFFFF
"""DPDK's SOCKET_ID_ANY (-1) as the wire has it: the NUMA node of a relay whose guest is not there."""
WAYS = {"vf_to_vm": ("vf", "vm"), "vm_to_vf": ("vm", "vf")}


@dataclass(frozen=True, slots=True)
class EngineCounts:
    """What was live, and counted, at one moment."""

    at: float
    """In seconds of the steady clock."""
    snapshot: HostSnapshot = field(default_factory=HostSnapshot)
    counters: Mapping[str, Any] | None = None
    """As `reconciler.observe.rates.together` gives them; None when no engine answered."""


def stats_reply(
    request: StatsRequest, before: EngineCounts | None, after: EngineCounts, sockets: Sequence[str]
) -> StatsResponse:
    """`before`: where the rates begin; None makes them 0. `sockets`: the template's path of each id, if those exist."""
    if len(request.relay) > MAX_RELAYS:
        return StatsResponse(status=StatsResponse.E2BIG)
    wanted = [id_ for id_ in request.relay if id_ < MAX_RELAYS] if request.relay else range(MAX_RELAYS)
    measured = _rates(before, after)
    states = (_state(id_, after, measured.get(id_, RelayRates()), sockets) for id_ in wanted)
    kept = [state for state in states if state.active or request.include_inactive]
    return StatsResponse(status=StatsResponse.OK, relay=kept)


def config_reply(after: EngineCounts, pins: Mapping[int, tuple[int, int]]) -> ConfigResponse:
    """`pins`: those that are wanted; what is live comes first."""
    found = dict(pins)
    for observed in after.snapshot.observations.values():
        found |= {pin.relay: (pin.vf_to_vm, pin.vm_to_vf) for pin in observed.state.pins.values()}
    rows = (
        ConfigResponse.RelayCPU(relay_number=id_, vf2virtio_cpu=cpus[0], virtio2vf_cpu=cpus[1])
        for id_, cpus in sorted(found.items())
    )
    return ConfigResponse(status=ConfigResponse.OK, relay_cpu_map=rows)


def _rates(before: EngineCounts | None, after: EngineCounts) -> Mapping[int, RelayRates]:
    if before is None or before.counters is None or after.counters is None:
        return {}
    return rates(before.counters, after.counters).relays


def _state(id_: int, after: EngineCounts, measured: RelayRates, sockets: Sequence[str]) -> RelayState:
    shard = after.snapshot.live.get(id_)
    if shard is None:
        path = sockets[id_] if id_ < len(sockets) else NO_SOCKET
        return RelayState(
            id=id_,
            active=False,
            vhost=RelayState.Vhost(vhost_socket_name=path),
            vf_to_vm=_direction(RelayState.VfToVm, "DPDK_UNINIT", False, {}, DirectionRates(), "vf_to_vm"),
            vm_to_vf=_direction(RelayState.VmToVf, "VIRTIO_UNINIT", False, {}, DirectionRates(), "vm_to_vf"),
            socket_id=ANY_NODE,
        )
    observed = after.snapshot.observations[shard]
    relay, pin = observed.state.relays[id_], observed.state.pins.get(id_)
    port = observed.live.port(relay.port)
    vf = port.present and relay.port in observed.state.ports
    vm = observed.live.socket(relay.socket).guest
    counted = after.counters["relays"].get(str(id_), {}) if after.counters is not None else {}
    state = RelayState(
        id=id_,
        active=vf and vm,
        vhost=RelayState.Vhost(vhost_socket_name=relay.socket),
        vf_to_vm=_direction(RelayState.VfToVm, _vf_state(vf, vm), vf, counted, measured.vf_to_vm, "vf_to_vm"),
        vm_to_vf=_direction(
            RelayState.VmToVf, "VIRTIO_READY" if vm else "VIRTIO_UNINIT", vm, counted, measured.vm_to_vf, "vm_to_vf"
        ),
        socket_id=max(0, port.numa or 0) if vf and vm else ANY_NODE,
    )
    if pin is not None and vf:
        state.cpu.vf_to_vm = pin.vf_to_vm
    if pin is not None and vm:
        state.cpu.vm_to_vf = pin.vm_to_vf
    if vf:
        state.vf.pci_addr_str = as_printed(relay.port)
    return state


def _vf_state(vf: bool, vm: bool) -> str:
    """As the old daemon named it, which started a VF when its guest connected."""
    return ("DPDK_READY" if vm else "DPDK_ADDED") if vf else "DPDK_UNINIT"


def _direction(
    make: Any, internal_state: str, active: bool, counted: Mapping[str, Any], measured: DirectionRates, way: str
) -> Any:
    source, sink = WAYS[way]
    rate = measured if active else DirectionRates()
    message = make(
        active=active,
        internal_state=internal_state,
        **{
            f"pkt_rate_rx_from_{source}": rate.rx_pps,
            f"byte_rate_rx_from_{source}": rate.rx_bps / 8,
            f"pkt_rate_tx_to_{sink}": rate.tx_pps,
            f"byte_rate_tx_to_{sink}": rate.tx_bps / 8,
        },
    )
    if active and way in counted:
        for name, value in _counts(counted[way], source, sink):
            setattr(message, name, value)
    return message


def _counts(counted: Mapping[str, int], source: str, sink: str) -> Iterable[tuple[str, int]]:
    full, absent = ("guest_full", "guest_absent") if sink == "vm" else ("vf_full", "vf_absent")
    for ours, theirs in (("packets", "pkts"), ("bytes", "bytes")):
        yield f"{theirs}_rx_from_{source}", counted[f"rx_{ours}"]
        yield f"{theirs}_tx_to_{sink}", counted[f"tx_{ours}"]
        yield f"{theirs}_dropped_{sink}_queue_full", counted[f"{full}_{ours}"]
        yield f"{theirs}_dropped_{sink}_not_connected", counted[f"{absent}_{ours}"]
