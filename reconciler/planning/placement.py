"""Places relays on worker CPUs: who is pinned stays there, who is placed well stays too, the rest goes where the least
is, on the NUMA node of its guest, else of its VF, when that has workers. The load is counted in directions, not in
packets: that is the balancer's business. Nobody is moved because a guest on another node has connected: packet buffers
follow the guest, and moves have their price too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from schema.model import Kind, Pin, State


def place(desired: State, observed: State) -> dict[int, Pin]:
    """A pin for every desired relay, sorted by relay. The same states give the same pins.

    Raises ValueError when a relay is to be placed and there is no worker.
    """
    cpus = {worker.cpu for worker in desired.workers}
    staying = {relay: pin for relay in desired.relays if (pin := _own_pin(relay, desired, observed.pins, cpus))}
    directions = Counter(cpu for pin in staying.values() for cpu in (pin.vf_to_vm, pin.vm_to_vf))
    placed = dict(staying)
    for relay in sorted(desired.relays.keys() - staying.keys()):
        cpu = _emptiest(near(relay, desired, observed) or cpus, directions, desired.engine.main_cpu)
        directions[cpu] += 2
        placed[relay] = Pin(relay, cpu, cpu)
    return dict(sorted(placed.items()))


def near(relay: int, desired: State, observed: State) -> set[int]:
    """The worker CPUs on the NUMA node where the relay's packets are; empty where that makes no difference."""
    wanted = desired.relays[relay]
    node = observed.nodes.get((Kind.SOCKET, wanted.socket), desired.nodes.get((Kind.PORT, wanted.port)))
    return {w.cpu for w in desired.workers if node is not None and desired.nodes.get((Kind.WORKER, w.cpu)) == node}


def _own_pin(relay: int, desired: State, live: Mapping[int, Pin], cpus: set[int]) -> Pin | None:
    """The pin that the spec gives, else the one that the relay has, unless one of its CPUs is no worker any more."""
    if relay in desired.pins:
        return desired.pins[relay]
    pin = live.get(relay)
    return pin if pin is not None and {pin.vf_to_vm, pin.vm_to_vf} <= cpus else None


def _emptiest(cpus: Iterable[int], directions: Mapping[int, int], main_cpu: int) -> int:
    """The CPU with the fewest directions; of equals not the one where the engine's own Python runs, then the lowest."""
    if not cpus:
        raise ValueError("there is no worker to place relays on; name CPUs in engine.worker_cpus")
    return min(cpus, key=lambda cpu: (directions[cpu], cpu == main_cpu, cpu))
