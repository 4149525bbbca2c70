"""What an engine measures and nobody compares: the part `live` of what it answers to `observe`, and its limits.

Where a fact has a default, an engine may leave it out: docs/engine-api.md says when.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class LiveMember:
    """A member of a bond."""

    name: str
    link: str
    """`up` or `down`."""
    active: bool
    """Whether packets go through it."""


@dataclass(frozen=True, slots=True)
class LivePort:
    present: bool = True
    link: str = ""
    """`up`, `down` or `gone`."""
    mac: str | None = None
    mtu: int | None = None
    promiscuous: bool | None = None
    driver: str | None = None
    numa: int | None = None
    """The device's node; -1 where it has none."""
    buffers: int | None = None
    """The node of its packet buffers, where the host has several."""
    short_of: int | None = None
    """The node on which they should be and had no room."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Interfaces by the name that the spec has for them, to what they are called now."""
    members: tuple[LiveMember, ...] = ()


@dataclass(frozen=True, slots=True)
class LiveSocket:
    guest: bool = False
    """Whether one is connected."""
    reachable: bool = True
    in_the_way: str | None = None
    """What keeps a guest that is yet to come from it, in words."""
    vid: int | None = None
    features: str = "0x0"
    """Of virtio, as they were agreed on."""
    migrating: bool = False
    queues: int = 0
    """Receive queues that the guest has enabled."""
    connects: int = 0
    shut: str | None = None
    """Why whoever connects is cut off for a while, in words."""
    node: int | None = None
    """The NUMA node of the guest's memory, where the host has several."""


@dataclass(frozen=True, slots=True)
class LiveWorker:
    state: str = ""
    entries: int = 0
    slept: float = 0.0
    """Share of the time that it slept, lately."""
    astray: str = ""
    """Why it does not run on its CPU, in words."""


@dataclass(frozen=True, slots=True)
class Live:
    """All of it."""

    ports: Mapping[str, LivePort] = field(default_factory=dict)
    """By name."""
    sockets: Mapping[str, LiveSocket] = field(default_factory=dict)
    """By path."""
    workers: Mapping[int, LiveWorker] = field(default_factory=dict)
    """By CPU."""
    captures: tuple[int, ...] = ()
    """The relays of which packets are captured."""

    def port(self, name: str) -> LivePort:
        """One of which nothing is said is taken to be as it should."""
        return self.ports.get(name, LivePort())

    def socket(self, path: str) -> LiveSocket:
        """One of which nothing is said has no guest."""
        return self.sockets.get(path, LiveSocket())


@dataclass(frozen=True, slots=True)
class Limits:
    """What an engine can have, of what it answers to `hello`."""

    ports: int | None = None
    files: int | None = None
    """How many descriptors it may open."""
    port_mbufs: int = 0
    """Packet buffers for each port, beyond one for each descriptor of its rings."""
    mbuf_bytes: int = 0
    """What each of them takes beyond a frame's room; 0 without hugepages."""
    tso_bytes: int = 0
    """With tso, as many buffers more as hold so many bytes."""
