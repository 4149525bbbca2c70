"""What a spec asks of the host: users, groups and CPUs."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

ONLINE = Path("/sys/devices/system/cpu/online")
NODES = Path("/sys/devices/system/node")
PCI_DEVICES = Path("/sys/bus/pci/devices")
NET_DEVICES = Path("/sys/class/net")


class Host(Protocol):
    """The questions that a spec is checked with; tests answer them from a table."""

    @property
    def uid(self) -> int:
        """The user that vio4wd runs as: who owns a socket when nobody is named."""

    @property
    def gid(self) -> int: ...

    def uid_of(self, name: str) -> int | None:
        """The number of a user; None when there is none of that name."""

    def gid_of(self, name: str) -> int | None: ...

    def runs_on(self, cpu: int) -> bool:
        """Whether a thread of ours may run on this CPU."""

    def cpus(self) -> str:
        """The CPUs that are there, in words for a person: `0-3`."""

    def free_hugepages(self) -> Mapping[int, int]:
        """NUMA node to free hugepages, in bytes."""

    def node_of(self, port: str) -> int | None:
        """The NUMA node of a PCI function; None for what is on none."""

    def cpu_nodes(self) -> Mapping[int, int]:
        """CPU to NUMA node; empty where there is only one node."""

    def vfs_of(self, netdev: str) -> tuple[str, ...]:
        """The PCI addresses of a network device's VFs, by their index; empty where it has none, or is not there."""

    def name(self) -> str:
        """As `hostname` says it: which of several hosts' files is this one's."""


class ThisHost:
    """The machine that we run on."""

    @property
    def uid(self) -> int:
        return os.geteuid()

    @property
    def gid(self) -> int:
        return os.getegid()

    def uid_of(self, name: str) -> int | None:
        try:
            return pwd.getpwnam(name).pw_uid
        except KeyError:
            return int(name) if name.isdecimal() else None

    def gid_of(self, name: str) -> int | None:
        try:
            return grp.getgrnam(name).gr_gid
        except KeyError:
            return int(name) if name.isdecimal() else None

    def runs_on(self, cpu: int) -> bool:
        """Tried, not looked up: the affinity that we were started with leaves out isolated CPUs, which are the best
        workers, and the list of online CPUs knows nothing of the cpuset that a container may be in."""
        verdict: list[bool] = []
        thread = threading.Thread(target=lambda: verdict.append(_moves_to(cpu)))
        try:
            thread.start()
        except (RuntimeError, MemoryError):  # there is no thread for a moment: that is no reason to refuse a CPU
            return True
        thread.join()
        return verdict[0]

    def cpus(self) -> str:
        try:
            return ONLINE.read_text().strip()
        except OSError:
            return ",".join(str(cpu) for cpu in sorted(os.sched_getaffinity(0)))

    def free_hugepages(self) -> Mapping[int, int]:
        free: dict[int, int] = {}
        for path in NODES.glob("node[0-9]*/hugepages/hugepages-*kB/free_hugepages"):
            node, page_kib = int(path.parts[-4][4:]), int(path.parent.name[len("hugepages-") : -len("kB")])
            free[node] = free.get(node, 0) + int(path.read_text()) * page_kib * 1024
        return free

    def node_of(self, port: str) -> int | None:
        try:
            node = int((PCI_DEVICES / port / "numa_node").read_text())
        except (OSError, ValueError):
            return None
        return node if node >= 0 else None

    def cpu_nodes(self) -> Mapping[int, int]:
        found = {int(path.name[3:]): int(path.parent.name[4:]) for path in NODES.glob("node[0-9]*/cpu[0-9]*")}
        return found if len(set(NODES.glob("node[0-9]*"))) > 1 else {}

    def vfs_of(self, netdev: str) -> tuple[str, ...]:
        links = (NET_DEVICES / netdev / "device").glob("virtfn[0-9]*")
        found = sorted((int(link.name.removeprefix("virtfn")), os.readlink(link)) for link in links)
        return tuple(os.path.basename(target) for _, target in found)

    def name(self) -> str:
        return socket.gethostname()


class AnyHost(ThisHost):
    """Some machine that has whatever a spec names: for comparing specs away from their host."""

    def __init__(self) -> None:
        self.stand_ins: dict[int, str] = {}
        """Numbers that stand for users and groups which this machine has not, and their names."""

    def uid_of(self, name: str) -> int | None:
        known = super().uid_of(name)
        return known if known is not None else self._stand_in(name)

    def gid_of(self, name: str) -> int | None:
        known = super().gid_of(name)
        return known if known is not None else self._stand_in(name)

    def _stand_in(self, name: str) -> int:
        """The same number for the same name, and one that nobody has."""
        number = next((n for n, known in self.stand_ins.items() if known == name), -1 - len(self.stand_ins))
        self.stand_ins[number] = name
        return number

    def runs_on(self, cpu: int) -> bool:
        del cpu
        return True


def _moves_to(cpu: int) -> bool:
    """Whether the calling thread could be moved to this CPU; to be asked on a thread that ends afterwards."""
    try:
        os.sched_setaffinity(0, {cpu})
    except OSError as error:
        if error.errno == errno.EINVAL:
            return False
        return cpu in os.sched_getaffinity(0)
    return True
