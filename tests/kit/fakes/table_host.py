"""A host from a table."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class TableHost:
    """CPUs 0 to 3, the user libvirt-qemu and the group kvm, unless told otherwise."""

    uid: int = 0
    gid: int = 0
    users: dict[str, int] = field(default_factory=lambda: {"libvirt-qemu": 64055})
    groups: dict[str, int] = field(default_factory=lambda: {"kvm": 108})
    usable: frozenset[int] = frozenset(range(4))
    free: dict[int, int] = field(default_factory=lambda: {0: 2**30})
    nodes: dict[str, int] = field(default_factory=dict)
    cpus_on: dict[int, int] = field(default_factory=dict)
    hostname: str = "node1"
    vfs: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def uid_of(self, name: str) -> int | None:
        return self.users.get(name)

    def gid_of(self, name: str) -> int | None:
        return self.groups.get(name)

    def runs_on(self, cpu: int) -> bool:
        return cpu in self.usable

    def cpus(self) -> str:
        return "0-3"

    def free_hugepages(self) -> dict[int, int]:
        return self.free

    def node_of(self, port: str) -> int | None:
        return self.nodes.get(port)

    def cpu_nodes(self) -> dict[int, int]:
        return self.cpus_on

    def vfs_of(self, netdev: str) -> tuple[str, ...]:
        return self.vfs.get(netdev, ())

    def name(self) -> str:
        return self.hostname
