"""What can be relayed, as values: the same types say what is wanted, what is live and what an action changes.

A `State` is a set of resources. The desired state is computed from the spec, the observed state is reported by the
engine; because both are of one type, a plan is a comparison. Everything here is frozen: a state is never turned into
another one in place.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any

MAX_SHARDS = 4
"""128 ports with the DPDK of distributions: 64 relays of which every second one has a bond of two need them all."""
PORTS = 32
"""RTE_MAX_ETHPORTS as distributions build it; what an engine says about itself counts more."""

MAX_RELAYS = 64
"""Relay ids run from 0 to 63, as in virtio-forwarder."""
MAX_SOCKETS = 2 * MAX_RELAYS
"""The template's of every id, and one of each relay's own."""


class Verb(enum.StrEnum):
    ADD = "add"
    REMOVE = "remove"
    UPDATE = "update"
    """Changed in place: what it touches goes on living."""
    REPLACE = "replace"
    """Taken down and set up again under the same name."""
    MIGRATE = "migrate"
    """Moved to other CPUs; no packet is lost or reordered."""


class Kind(enum.StrEnum):
    PAGES = "pages"
    MOUNT = "mount"
    ENGINE = "engine"
    WORKER = "worker"
    VF = "vf"
    PORT = "port"
    SOCKET = "socket"
    RELAY = "relay"
    PIN = "pin"


class Impact(enum.StrEnum):
    """What an action costs those who use the relay, from least to most."""

    NONE = "none"
    RELAY = "relay"
    """That relay's traffic stops for a moment (or for good, when it is removed)."""
    GUEST = "guest"
    """The guest sees its link go."""
    HOST = "host"
    """Every relay of the host is interrupted."""


PAGE_BYTES: Mapping[str, int] = MappingProxyType({"2M": 2**21, "1G": 2**30})
"""The hugepages that x86-64 has."""


@dataclass(frozen=True, slots=True)
class Pages:
    """The hugepages of one size that a host keeps."""

    size: str
    """Of `PAGE_BYTES`."""
    total: int
    nodes: tuple[int, ...] = ()
    """How many by NUMA node, node 0 first. Empty in a desired state: on whichever nodes they fit."""
    found: tuple[int, ...] = ()
    """How many of the live ones were there before vio4wd, by node: these stay, whatever a spec says."""
    max_maps: int = 0
    """vm.max_map_count; the desired one is the least that will do."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A mount of hugetlbfs, on which QEMU makes the files of its guests' memory."""

    path: str
    page_size: str
    """Of `PAGE_BYTES`."""
    uid: int | None = None
    """The owner of its directories `libvirt` and `libvirt/qemu`, as with `gid` and `permissions`. None is none such,
    in a desired state whatever is there."""
    gid: int | None = None
    permissions: int | None = None
    ours: bool = True
    """Whether vio4wd has mounted it, and takes it down again."""


@dataclass(frozen=True, slots=True)
class Engine:
    """Start-up parameters of one engine process. A change of those in STARTED_WITH needs a new one."""

    main_cpu: int = 0
    idle: str = "adaptive"
    idle_sleep_us: int = 1000
    """The longest that a worker with nothing to do sleeps before it looks again, in microseconds."""
    log_level: str = "info"
    burst: int = 32
    """How many packets at most a worker moves at once for one relay and direction."""
    vfio_vf_token: str = ""
    """The UUID, in lower case, that whoever holds the PF through vfio-pci asks of its VFs' users; empty: none."""


STARTED_WITH = ("main_cpu", "burst", "vfio_vf_token")
"""What an engine process takes only at its start: the EAL binds its main thread and reads the VFs' token once, and the
burst is compiled into the loops."""


@dataclass(frozen=True, slots=True)
class Worker:
    """A CPU on which relays may be polled."""

    cpu: int


@dataclass(frozen=True, slots=True)
class Vf:
    """A PCI function that vio4wd binds to a driver of the host's kernel, and gives back when nobody polls it."""

    address: str
    driver: str = "vfio-pci"
    """Empty in a desired state: whatever it is."""


@dataclass(frozen=True, slots=True)
class Port:
    """What DPDK polls: a PCI function, or a virtual device with its arguments."""

    name: str
    """Canonical PCI address (`0000:05:08.1`, lower case) or the virtual device's name (`net_af_packet0`)."""
    args: str = ""
    """A virtual device's arguments, as DPDK takes them: `iface=veth1`. Empty for a PCI function."""
    bond_mode: str = ""
    """One of DPDK's bonding modes by name (`active-backup`) when the port is a bond, else empty."""
    members: tuple[str, ...] = ()
    """A bond's members, each a PCI address or a virtual device with its arguments."""
    mtu: int = 1500
    queues: int = 1
    """Receive queues, over which the NIC spreads by flow where it can; the driver may have fewer."""
    descriptors: int = 1024
    """Of each of its rings, receive and send; the driver adjusts it to what the device can."""
    checksums: bool = False
    """Whether guests may leave TCP and UDP checksums open: the NIC finishes them, else the relay."""
    tso: bool = False
    """Whether guests may hand over long TCP frames: the NIC cuts them, else the relay."""


@dataclass(frozen=True, slots=True)
class Socket:
    """A vhost-user socket on which a guest (QEMU) connects."""

    path: str
    mode: str = "server"
    uid: int = 0
    gid: int = 0
    permissions: int = 0o660
    features: tuple[str, ...] = ()
    """What guests are offered beyond the basics, sorted: of `csum`, `mrgbuf`, `packed`, `tso`."""


@dataclass(frozen=True, slots=True)
class Relay:
    """The pairing of one port with one socket."""

    id: int
    port: str
    """Name of the `Port`."""
    socket: str
    """Path of the `Socket`."""


@dataclass(frozen=True, slots=True)
class Pin:
    """The CPUs that poll a relay, by direction."""

    relay: int
    vf_to_vm: int
    vm_to_vf: int


Resource = Pages | Mount | Engine | Worker | Vf | Port | Socket | Relay | Pin
Key = int | str

KINDS: Mapping[Kind, type[Any]] = MappingProxyType(
    {
        Kind.PAGES: Pages,
        Kind.MOUNT: Mount,
        Kind.ENGINE: Engine,
        Kind.WORKER: Worker,
        Kind.VF: Vf,
        Kind.PORT: Port,
        Kind.SOCKET: Socket,
        Kind.RELAY: Relay,
        Kind.PIN: Pin,
    }
)
"""The resource types in dependency order: what stands later needs what stands before it."""

_KEY_FIELD = {
    Kind.PAGES: "size",
    Kind.MOUNT: "path",
    Kind.WORKER: "cpu",
    Kind.VF: "address",
    Kind.PORT: "name",
    Kind.SOCKET: "path",
    Kind.RELAY: "id",
    Kind.PIN: "relay",
}


def key_of(kind: Kind, resource: Resource) -> Key:
    """What tells a resource from the others of its kind; the engine's is its shard, 0 until there are more."""
    return getattr(resource, _KEY_FIELD[kind]) if kind in _KEY_FIELD else 0


def resource_from_json(kind: Kind, value: Mapping[str, Any]) -> Resource:
    """The resource that `asdict` once gave. Raises TypeError when keys are missing or unknown."""
    resource: Resource = KINDS[kind](**{name: tuple(v) if isinstance(v, list) else v for name, v in value.items()})
    return resource


@dataclass(frozen=True, slots=True)
class State:
    """Everything that is wanted, or everything that is live, on one engine.

    `pins` of a desired state name only the relays whose CPUs the spec gives; a relay without one matches any
    placement. An observed state has a pin for every relay.
    """

    engine: Engine = field(default_factory=Engine)
    workers: frozenset[Worker] = frozenset()
    ports: Mapping[str, Port] = field(default_factory=dict)
    sockets: Mapping[str, Socket] = field(default_factory=dict)
    relays: Mapping[int, Relay] = field(default_factory=dict)
    pins: Mapping[int, Pin] = field(default_factory=dict)
    vfs: Mapping[str, Vf] = field(default_factory=dict)
    """The host's, not the engine's. Observed: those that vio4wd has bound. Desired: every PCI function that is polled,
    with an empty driver where it is not for vio4wd to bind."""
    pages: Mapping[str, Pages] = field(default_factory=dict)
    """The host's, as `mounts`. Observed: every size of which there are any."""
    mounts: Mapping[str, Mount] = field(default_factory=dict)
    """Observed: every mount of hugetlbfs, whoever made it."""
    nodes: Mapping[tuple[Kind, Key], int] = field(default_factory=dict, compare=False)
    """On a host with several NUMA nodes: that of each worker and of each port that is on one (desired), and of the
    guest on each socket (observed). Facts, not targets: never compared."""

    @classmethod
    def of(cls, resources: Iterable[Resource]) -> State:
        """The state that consists of these resources, in any order. Raises ValueError on two with one key."""
        by_type: dict[type[Any], dict[Any, Any]] = {type_: {} for type_ in KINDS.values()}
        for resource in resources:
            kind = KIND_OF[type(resource)]
            key = key_of(kind, resource)
            if key in by_type[type(resource)]:
                raise ValueError(f"{kind}:{key} stands twice")
            by_type[type(resource)][key] = resource
        return cls(
            engine=by_type[Engine].get(0, Engine()),
            workers=frozenset(by_type[Worker].values()),
            pages=MappingProxyType(by_type[Pages]),
            mounts=MappingProxyType(by_type[Mount]),
            vfs=MappingProxyType(by_type[Vf]),
            ports=MappingProxyType(by_type[Port]),
            sockets=MappingProxyType(by_type[Socket]),
            relays=MappingProxyType(by_type[Relay]),
            pins=MappingProxyType(by_type[Pin]),
        )

    def resources(self, kind: Kind) -> dict[Key, Resource]:
        """The resources of one kind by key, sorted by key."""
        everything: dict[Kind, Iterable[Resource]] = {
            Kind.PAGES: self.pages.values(),
            Kind.MOUNT: self.mounts.values(),
            Kind.ENGINE: (self.engine,),
            Kind.WORKER: self.workers,
            Kind.VF: self.vfs.values(),
            Kind.PORT: self.ports.values(),
            Kind.SOCKET: self.sockets.values(),
            Kind.RELAY: self.relays.values(),
            Kind.PIN: self.pins.values(),
        }
        keyed = {key_of(kind, resource): resource for resource in everything[kind]}
        return dict(sorted(keyed.items(), key=lambda item: item[0]))

    def to_json(self) -> dict[str, list[dict[str, Any]]]:
        """Each kind's resources, sorted: `{"port": [{"name": ..., "args": ...}], ...}`."""
        return {kind.value: [asdict(r) for r in self.resources(kind).values()] for kind in Kind}

    @classmethod
    def from_json(cls, value: Mapping[str, Iterable[Mapping[str, Any]]]) -> State:
        """The inverse of `to_json`."""
        return cls.of(resource_from_json(Kind(kind), r) for kind, items in value.items() for r in items)


KIND_OF: Mapping[type[Any], Kind] = MappingProxyType({type_: kind for kind, type_ in KINDS.items()})


@dataclass(frozen=True, slots=True)
class Action:
    """One step of a plan: data, not code."""

    verb: Verb
    kind: Kind
    key: Key
    relay: int | None
    """The relay that the step serves or touches; None where it is nobody's in particular."""
    before: Resource | None
    after: Resource | None
    impact: Impact = Impact.NONE
    reason: str = ""
    """Why, in one sentence without a full stop."""

    @property
    def resource(self) -> str:
        """`relay:3`, `port:0000:05:08.1`: how people name it."""
        return f"{self.kind}:{self.key}"

    def to_json(self) -> dict[str, Any]:
        return {
            "action": self.verb.value,
            "kind": self.kind.value,
            "resource": self.resource,
            "relay": self.relay,
            "before": asdict(self.before) if self.before is not None else None,
            "after": asdict(self.after) if self.after is not None else None,
            "impact": self.impact.value,
            "reason": self.reason,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Action:
        """The inverse of `to_json`. Raises KeyError, TypeError or ValueError on what is no action."""
        kind = Kind(value["kind"])
        before = resource_from_json(kind, value["before"]) if value["before"] is not None else None
        after = resource_from_json(kind, value["after"]) if value["after"] is not None else None
        whole = after if after is not None else before
        if whole is None:
            raise ValueError("an action has neither before nor after")
        return cls(
            verb=Verb(value["action"]),
            kind=kind,
            key=key_of(kind, whole),
            relay=value["relay"],
            before=before,
            after=after,
            impact=Impact(value["impact"]),
            reason=value["reason"],
        )
