"""What a vio4wd.yaml says, as frozen values: every key with its default, before it meets a host.

The names are those of the YAML keys. What a key means stands in `vio4wd.schema.json` and docs/spec.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from schema.model import Port
from schema.nodes import Path, Problem
from schema.paths import normal_path

ENDPOINTS: tuple[Path, ...] = (
    ("port_control", "zmq"),
    ("services", "stats"),
    ("services", "config"),
    ("services", "core_sched"),
)

FILE, STATIC = "file", "static"
"""Whose the relays of a spec are: the spec's file, or the static VFs of virtio-forwarder's configuration file."""


@dataclass(frozen=True, slots=True)
class EngineSpec:
    main_cpu: int = 0
    worker_cpus: tuple[int, ...] = (1, 2)
    idle: str = "adaptive"
    idle_sleep_us: int = 1000
    """The longest sleep of a worker with nothing to do, in microseconds."""
    log_level: str = "info"
    burst: int = 32
    """Packets that a worker moves at once."""
    vfio_vf_token: str | None = None
    """A UUID in lower case; needed when the VFs' PF is bound to vfio-pci."""


@dataclass(frozen=True, slots=True)
class VhostUserSpec:
    mode: str = "server"
    directory: str = "/tmp"
    name: str = "virtio-forwarder%u.sock"
    """The `%u` stands for the relay's id."""
    owner: str | None = None
    group: str | None = None
    """A name; None is the process's own, as with `owner`."""
    permissions: int = 0o660
    dynamic_sockets: bool = False
    """Whether port control adds and removes sockets."""
    template_sockets: bool = False
    """The sockets of ids 0 to 63 exist whether a relay uses them or not."""
    jumbo: bool = False
    """Whether relays without an MTU of their own have 9000 bytes."""
    csum: bool = False
    """What guests are offered, as with `tso` and `mrgbuf`."""
    tso: bool = False
    mrgbuf: bool = False


@dataclass(frozen=True, slots=True)
class LibvirtSpec:
    """The directory that QEMU under libvirt makes its files in."""

    owner: str | None = None
    """A name; None is libvirt-qemu where there is that user, else the process's own."""
    group: str | None = None
    """A name; None is kvm where there is that group, else the process's own."""
    permissions: int = 0o755


@dataclass(frozen=True, slots=True)
class HugepagesSpec:
    mount: str
    page_size: str
    """`2M` or `1G`."""
    reserve: int | tuple[int, ...]
    """In pages: on all NUMA nodes together, or on each, node 0 first."""
    libvirt: LibvirtSpec | None = None


@dataclass(frozen=True, slots=True)
class BondSpec:
    name: str
    members: tuple[Port, ...]
    """Where one member carries everything, the first one takes over that can."""
    mode: str = "active-backup"
    """virtio-forwarder's default."""


@dataclass(frozen=True, slots=True)
class RelaySpec:
    """The pairing of a VF or a bond with a guest's socket. A loaded spec has exactly one of `vf` and `bond`."""

    id: int
    vf: Port | None = None
    bond: BondSpec | None = None
    socket: str | None = None
    """None is the path that `vhost_user` makes of the id; see `socket_path`."""
    cpus: tuple[int, int] | None = None
    """The CPUs that poll VF to VM and VM to VF; None leaves the placement to the planner."""
    mtu: int | None = None
    """In bytes; None is 1500, or 9000 with `vhost_user.jumbo`."""
    queues: int = 1
    """Receive queues of the VF."""
    descriptors: int = 1024
    """Of each of the VF's rings, receive and send."""
    packed: bool = False
    """Whether the guest is offered packed rings."""
    bind: bool = False
    """Whether vio4wd binds the PCI functions to vfio-pci, and gives them back."""
    protect: bool = False
    """Whether it is removed only when that is allowed by name."""

    @property
    def ports(self) -> tuple[Port, ...]:
        """The VF, or the bond's members."""
        if self.vf is not None:
            return (self.vf,)
        return self.bond.members if self.bond is not None else ()


@dataclass(frozen=True, slots=True)
class DirectorySpec:
    path: str

    @property
    def name(self) -> str:
        """What tells it from other sources, in words."""
        return f"directory {self.path}"


def without_password(url: str) -> str:
    """The URL without all that stands before its host."""
    return re.sub(r"(?<=://)[^/]*@", "", url)


@dataclass(frozen=True, slots=True)
class GitSpec:
    url: str
    ref: str = "main"
    """A branch, or else a tag."""
    path: str = ""
    """Inside the repository; empty is the whole."""
    interval_s: int = 60
    allowed_signers: str | None = None
    """A path; None: commits need no signature."""
    allow_rewrite: bool = False

    @property
    def name(self) -> str:
        """As a directory's."""
        return " ".join(part for part in ("git", self.shown_url, self.ref, self.path) if part)

    @property
    def shown_url(self) -> str:
        """Without the password that may stand in it."""
        return without_password(self.url)


SourceSpec = DirectorySpec | GitSpec


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


@dataclass(frozen=True, slots=True)
class Spec:
    engine: EngineSpec = EngineSpec()
    vhost_user: VhostUserSpec = VhostUserSpec()
    relays: tuple[RelaySpec, ...] = ()
    """In the order of the file."""
    hugepages: tuple[HugepagesSpec, ...] = ()
    drift: str = "repair"
    """What becomes of out-of-band changes: `repair` or `report`."""
    allow_destroy: tuple[str, ...] = ()
    """Relays by name (`relay:3`) that may be removed whatever guards them."""
    sources: tuple[SourceSpec, ...] = ()
    """Still to be read: the rest is not all that is wanted."""
    port_control: PortControlSpec = NO_PORT_CONTROL
    services: ServicesSpec = NO_SERVICES
    balance: BalanceSpec = NO_BALANCE
    pins: tuple[PinSpec, ...] = ()
    bind_vfs: tuple[str, ...] = ()
    """PCI addresses, netdevs, or netdevs with a colon and a count."""
    owner: str = FILE
    """Who wants its relays."""
    text: str = ""
    """The document as it was read."""
    sha256: str = ""
    """Of the file's bytes, in hexadecimal: two specs with one hash say the same."""
    warnings: tuple[Problem, ...] = ()


STANDARD_MTU, JUMBO_MTU = 1500, 9000


def mtu(vhost_user: VhostUserSpec, relay: RelaySpec) -> int:
    """The longest packet that the relay takes, in bytes without the Ethernet header."""
    return relay.mtu if relay.mtu is not None else JUMBO_MTU if vhost_user.jumbo else STANDARD_MTU


def socket_path(vhost_user: VhostUserSpec, relay: RelaySpec) -> str:
    """The path of a relay's socket: its own, else `directory` and `name` with the id in place of `%u`."""
    return relay.socket if relay.socket is not None else template_path(vhost_user, relay.id)


def template_path(vhost_user: VhostUserSpec, id_: int) -> str:
    """The path that `vhost_user` makes of an id."""
    name = vhost_user.name.replace("%u", str(id_))
    return normal_path(f"{vhost_user.directory}/{name}")


def endpoints(spec: Spec) -> Iterator[tuple[Path, EndpointSpec]]:
    """Those that are given, and where."""
    given = (spec.port_control.zmq, spec.services.stats, spec.services.config, spec.services.core_sched)
    for path, endpoint in zip(ENDPOINTS, given, strict=True):
        if endpoint is not None:
            yield (*path, "endpoint"), endpoint
