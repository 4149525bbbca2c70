"""A relay with everything that is its own: its port with the VFs, its socket, its pin."""

from __future__ import annotations

from dataclasses import replace

from schema.model import State, Vf
from schema.vf import pci_functions


def without_relay(whole: State, id_: int) -> State:
    """The state without this relay and what is its own."""
    relay = whole.relays.get(id_)
    if relay is None:
        return whole
    port = whole.ports.get(relay.port)
    vfs = pci_functions(port) if port is not None else ()
    return replace(
        whole,
        relays={other: r for other, r in whole.relays.items() if other != id_},
        ports={name: each for name, each in whole.ports.items() if name != relay.port},
        sockets={path: each for path, each in whole.sockets.items() if path != relay.socket},
        pins={other: pin for other, pin in whole.pins.items() if other != id_},
        vfs={address: vf for address, vf in whole.vfs.items() if address not in vfs},
    )


def with_relay(whole: State, known: State, id_: int) -> State:
    """The state with this relay as it is in another one, pinned as there if these CPUs are workers here."""
    relay, pin = known.relays[id_], known.pins.get(id_)
    port = known.ports[relay.port]
    cpus = {worker.cpu for worker in whole.workers}
    pins = {id_: pin} if pin is not None and {pin.vf_to_vm, pin.vm_to_vf} <= cpus else {}
    vfs = {address: known.vfs.get(address, Vf(address, "")) for address in pci_functions(port)}
    return replace(
        whole,
        relays={**whole.relays, id_: relay},
        ports={**whole.ports, port.name: port},
        sockets={**whole.sockets, relay.socket: known.sockets[relay.socket]},
        pins={**whole.pins, **pins},
        vfs={**whole.vfs, **vfs},
    )
