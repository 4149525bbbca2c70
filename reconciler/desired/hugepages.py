"""What a spec's hugepages ask of the host."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest

from reconciler.host.host import Host
from schema.model import Mount, Pages
from schema.spec import HugepagesSpec, LibvirtSpec


def pages(entries: Sequence[HugepagesSpec]) -> list[Pages]:
    """By size, what all entries of that size reserve together. DPDK, and whoever else maps pages one by one, needs up
    to two mappings for each."""
    found: dict[str, Pages] = {}
    for entry in entries:
        nodes = entry.reserve if isinstance(entry.reserve, tuple) else ()
        total = sum(nodes) if isinstance(entry.reserve, tuple) else entry.reserve
        before = found.get(entry.page_size, Pages(entry.page_size, 0))
        added = tuple(a + b for a, b in zip_longest(before.nodes, nodes, fillvalue=0))
        found[entry.page_size] = Pages(entry.page_size, before.total + total, added)
    maps = 2 * sum(each.total for each in found.values())
    return [Pages(each.size, each.total, each.nodes, max_maps=maps) for each in found.values()]


def mounts(entries: Iterable[HugepagesSpec], host: Host) -> list[Mount]:
    """A user or group that this host has not stands in `unknown`."""
    return [_mount(entry, host) for entry in entries]


def _mount(entry: HugepagesSpec, host: Host) -> Mount:
    if entry.libvirt is None:
        return Mount(entry.mount, entry.page_size)
    uid, gid = _uid(entry.libvirt, host), _gid(entry.libvirt, host)
    return Mount(entry.mount, entry.page_size, uid, gid, entry.libvirt.permissions)


def _uid(libvirt: LibvirtSpec, host: Host) -> int:
    found = host.uid_of(libvirt.owner or "libvirt-qemu")
    return host.uid if found is None else found


def _gid(libvirt: LibvirtSpec, host: Host) -> int:
    found = host.gid_of(libvirt.group or "kvm")
    return host.gid if found is None else found


def unknown(entries: Sequence[HugepagesSpec], host: Host) -> Iterable[tuple[str, str, str]]:
    """The key, what it names (`user`, `group`) and the name, of those that this host has not."""
    for index, libvirt in ((index, entry.libvirt) for index, entry in enumerate(entries)):
        if libvirt is not None and libvirt.owner is not None and host.uid_of(libvirt.owner) is None:
            yield f"hugepages[{index}].libvirt.owner", "user", libvirt.owner
        if libvirt is not None and libvirt.group is not None and host.gid_of(libvirt.group) is None:
            yield f"hugepages[{index}].libvirt.group", "group", libvirt.group
