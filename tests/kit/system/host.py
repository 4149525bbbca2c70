"""What the host has, and what a test has left on it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, fields
from pathlib import Path

from tests.kit.system import ovsdb_server as ovsdb

_RUNTIME_DIRS = (Path("/var/run/dpdk"),)
QEMU, LEAST_QEMU = "qemu-system-x86_64", 10
_OURS = ("dpdk-testpmd", "vio4wd", "reconciler")


def free_hugepages_mib() -> int:
    """Free hugepages of 2 MiB, in MiB; 0 when there are none."""
    return _pages("free_hugepages") * 2


def reserved_hugepages_mib() -> int:
    """Reserved hugepages of 2 MiB, in MiB."""
    return _pages("nr_hugepages") * 2


def _pages(name: str) -> int:
    try:
        return int(Path("/sys/kernel/mm/hugepages/hugepages-2048kB", name).read_text())
    except (OSError, ValueError):
        return 0


def cpus() -> frozenset[int]:
    """The CPUs on which this process may run."""
    return frozenset(os.sched_getaffinity(0))


def hugetlbfs_mounts() -> list[Path]:
    lines = Path("/proc/mounts").read_text().splitlines()
    return [Path(line.split()[1]) for line in lines if line.split()[2] == "hugetlbfs"]


@dataclass(frozen=True, slots=True)
class Leftovers:
    """Everything on the host that a run of vio4wd or of its guests could leave behind."""

    hugepage_files: frozenset[str]
    sockets: frozenset[str]
    runtime_directories: frozenset[str]
    namespaces: frozenset[str]
    processes: frozenset[str]

    def since(self, before: Leftovers) -> list[str]:
        """What is there and was not there `before`: `socket /tmp/...`, in plain words, sorted."""
        found = []
        for each in fields(self):
            added = getattr(self, each.name) - getattr(before, each.name)
            found += [f"{each.name.replace('_', ' ')}: {name}" for name in sorted(added)]
        return found

    def naming(self, marker: str) -> Leftovers:
        """Only what has `marker` in its name: other work on the same host is none of a test's business."""
        return Leftovers(*(frozenset(n for n in getattr(self, each.name) if marker in n) for each in fields(self)))


def snapshot() -> Leftovers:
    """What is on the host now."""
    files = (str(f) for mount in hugetlbfs_mounts() for f in _entries(mount))
    runtime = (str(f) for parent in _RUNTIME_DIRS for f in _entries(parent))
    return Leftovers(
        hugepage_files=frozenset(files),
        sockets=frozenset(_socket_paths()),
        runtime_directories=frozenset(runtime),
        namespaces=frozenset(p.name for p in _entries(Path("/var/run/netns"))),
        processes=frozenset(_processes()),
    )


def _entries(path: Path) -> list[Path]:
    try:
        return sorted(path.iterdir())
    except OSError:
        return []


def _socket_paths() -> list[str]:
    rows = (line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:])
    return [row[7] for row in rows if len(row) > 7 and row[7].startswith("/")]


def _processes() -> list[str]:
    """`PID command line` of vio4wd's processes and of guests; zombies have no command line and are left out."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (path / "cmdline").read_bytes().rstrip(b"\0").decode(errors="replace").split("\0")
            if any(name in " ".join(words[:4]) for name in _OURS) and int(path.name) != os.getpid():
                found.append(f"{path.name} {' '.join(words)}")
    return found


def missing(need: str) -> str | None:
    """What is missing for a test that needs `need`, in words, or None when it is there.

    `need` is `root`, `netns`, `hugepages`, `qemu` (one that boots guests), `ovs` (Open vSwitch's database), or the name
    of a program.
    """
    if need == "root":
        return None if os.geteuid() == 0 else "root (this is another user)"
    if need == "netns":
        return _missing_namespaces()
    if need == "qemu":
        return _missing_qemu()
    if need == "ovs":
        return ovsdb.missing()
    if need == "hugepages":
        return None if free_hugepages_mib() >= 256 else "256 MiB of free 2 MiB hugepages"
    return None if shutil.which(need) else f"the program {need}"


def _missing_qemu() -> str | None:
    """Debian 12's own QEMU, 7.2, crashes in software emulation when the guest's virtio driver loads."""
    if shutil.which(QEMU) is None:
        return f"the program {QEMU}, {LEAST_QEMU} or newer"
    words = subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"version (\d+)", words)
    if found is None or int(found[1]) < LEAST_QEMU:
        return f"{QEMU} {LEAST_QEMU} or newer (here: {words.splitlines()[0] if words else 'one that says nothing'})"
    programs = ("busybox", "cpio", "modprobe", "apt-get", "iperf3")
    return next((f"the program {each}" for each in programs if shutil.which(each) is None), None)


def _missing_namespaces() -> str | None:
    for program in ("ip", "ethtool", "ping"):
        if shutil.which(program) is None:
            return f"the program {program}"
    line = ["unshare", "--net", "ip", "link", "add", "v4probe", "type", "veth", "peer", "name", "v4probe2"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    words = done.stderr.strip().splitlines()
    return None if done.returncode == 0 else f"network namespaces with veth pairs ({words[-1] if words else 'refused'})"
