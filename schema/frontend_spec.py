"""The part of a spec for those who have used virtio-forwarder: port control, services, and what goes with them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EndpointSpec:
    """A ZeroMQ endpoint, and whose its socket file is."""

    endpoint: str
    owner: str | None = None
    group: str | None = None
    permissions: int = 0o660

    @property
    def path(self) -> str:
        """Of its socket file."""
        return self.endpoint.removeprefix("ipc://")


@dataclass(frozen=True, slots=True)
class OvsdbSpec:
    socket: str = "/usr/local/var/run/openvswitch/db.sock"
    """Where Open vSwitch's database server listens."""


@dataclass(frozen=True, slots=True)
class IpcSpec:
    file: str = "/tmp/vio_cmd"
    """Where commands are put."""


@dataclass(frozen=True, slots=True)
class PortControlSpec:
    """At most one of them, in a loaded spec."""

    zmq: EndpointSpec | None = None
    ovsdb: OvsdbSpec | None = None
    ipc: IpcSpec | None = None


@dataclass(frozen=True, slots=True)
class ServicesSpec:
    stats: EndpointSpec | None = None
    config: EndpointSpec | None = None
    core_sched: EndpointSpec | None = None


@dataclass(frozen=True, slots=True)
class BalanceSpec:
    override: bool = False
    """Whether relays that have cpus of their own may be moved from outside too."""


@dataclass(frozen=True, slots=True)
class PinSpec:
    """CPUs of a relay that is not in the spec."""

    relay: int
    cpus: tuple[int, int]


NO_PORT_CONTROL, NO_SERVICES, NO_BALANCE = PortControlSpec(), ServicesSpec(), BalanceSpec()
