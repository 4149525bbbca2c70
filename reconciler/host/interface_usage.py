"""What the host does with a PCI function: whatever would be lost if it were taken from its driver.

A function's interfaces and disks lie anywhere below it: those of a virtio NIC below its virtio0, those of an adapter
with several ports side by side.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from reconciler.host import netlink

Ask = Callable[[int], Sequence[str]]
"""What the kernel has on an interface, by its index. Raises OSError."""
IFF_UP = 1
"""linux/if.h"""
_FUNCTION = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")


@dataclass(frozen=True, slots=True)
class Network:
    """What is asked of the kernel; other functions in tests."""

    addresses: Ask = netlink.addresses
    routes: Ask = netlink.routes


def usage(device: Path, net: Path, network: Network) -> tuple[str, ...]:
    """What the host does with the function, as clauses; nothing: it may be taken. `net` is /sys/class/net.

    A VF may have an interface that is up and nothing more: whoever made it may have had it brought up by itself.
    """
    folders = list(_below(Path(os.path.realpath(device))))
    names = interfaces(device)
    virtual = (device / "physfn").is_symlink()
    return (
        *(f"the disk {name} hangs on it" for folder in folders if folder.name == "block" for name in _names(folder)),
        *(clause for name in names for clause in _interface(net / name, virtual, network)),
        *_elsewhere(folders),
        *_only(names, net),
        *_its_vfs(device),
    )


def interfaces(device: Path) -> tuple[str, ...]:
    """The network interfaces of a function, by name."""
    folders = _below(Path(os.path.realpath(device)))
    return tuple(name for folder in folders if folder.name == "net" for name in _names(folder))


def _below(device: Path) -> Iterator[Path]:
    """The folders of interfaces and disks, but not those of functions behind a bridge."""
    for at, folders, _ in os.walk(device):
        yield from (Path(at, name) for name in folders if name in ("net", "block"))
        folders[:] = sorted(name for name in folders if name not in ("net", "block") and not _FUNCTION.fullmatch(name))


def _interface(interface: Path, virtual: bool, network: Network) -> Iterator[str]:
    """Why it may not be taken away. What can't be told is taken for the worse."""
    name, up = interface.name, bool(_number(interface / "flags", 16) & IFF_UP)
    if up and not virtual:
        yield f"its interface {name} is up"
    above = [entry.removeprefix("upper_") for entry in _names(interface) if entry.startswith("upper_")]
    if (interface / "master").is_symlink():
        above.append(os.path.basename(os.path.realpath(interface / "master")))
    for each in sorted(set(above)):
        yield f"its interface {name} belongs to {each}"
    try:
        index = _number(interface / "ifindex", 10)
        yield from (f"its interface {name} has the address {each}" for each in network.addresses(index))
        if up:
            yield from (f"a route ({each}) leads through its interface {name}" for each in network.routes(index)[:1])
    except OSError as error:
        if up:
            yield f"its interface {name} is up, and the kernel does not say what uses it ({error})"


def _elsewhere(folders: Sequence[Path]) -> Iterator[str]:
    """The kernel shows the folder of an interface that is in another network namespace, but not the interface."""
    if any(folder.name == "net" and not _names(folder) for folder in folders):
        yield "its interface is in another network namespace, a container's perhaps"


def _only(names: Sequence[str], net: Path) -> Iterator[str]:
    """All interfaces with a device below them are NICs; one that the host alone has is how it is reached."""
    nics = [name for name in _names(net) if (net / name / "device").exists()]
    if names and set(nics) <= set(names):
        yield f"it has the host's only network interface ({', '.join(names)})"


def _its_vfs(device: Path) -> Iterator[str]:
    count = _number(device / "sriov_numvfs", 10)
    if count:
        yield f"its {count} VFs would vanish with its driver"


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _number(path: Path, base: int) -> int:
    try:
        return int(path.read_text(), base)
    except (OSError, ValueError):
        return 0
