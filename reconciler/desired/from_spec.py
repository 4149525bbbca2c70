"""What a spec wants of this host's engine, as a state that a plan can be made for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain, zip_longest

from reconciler.host.host import Host
from reconciler.host.refusal import SpecUnfit
from schema.model import (
    MAX_RELAYS,
    Engine,
    Key,
    Kind,
    Mount,
    Pages,
    Pin,
    Port,
    Relay,
    Resource,
    Socket,
    State,
    Vf,
    Worker,
)
from schema.spec import (
    EngineSpec,
    HugepagesSpec,
    LibvirtSpec,
    RelaySpec,
    Spec,
    VhostUserSpec,
    mtu,
    socket_path,
    template_path,
)
from schema.vf import is_address, pci_functions


def desired(spec: Spec, host: Host) -> State:
    """The state that the spec asks for. Raises SpecUnfit with everything that stands in the way."""
    uid, owner_wrong = _owner(spec.vhost_user, host)
    gid, group_wrong = _group(spec.vhost_user, host)
    unknown = list(_unknown(spec.hugepages, host))
    wrong = {
        "unread": [f"sources: {source.name} was not read" for source in spec.sources],
        "no-user": [*owner_wrong, *(_nobody(*each) for each in unknown if each[1] == "user")],
        "no-group": [*group_wrong, *(_nobody(*each) for each in unknown if each[1] == "group")],
        "no-cpu": list(_cpus_wrong(spec.engine, host)),
    }
    if any(wrong.values()):
        raise SpecUnfit(chain(*wrong.values()), (code for code, reasons in wrong.items() if reasons))
    engine = Engine(
        main_cpu=spec.engine.main_cpu,
        idle=spec.engine.idle,
        idle_sleep_us=spec.engine.idle_sleep_us,
        log_level=spec.engine.log_level,
        burst=spec.engine.burst,
        vfio_vf_token=spec.engine.vfio_vf_token or "",
    )
    resources: list[Resource] = [engine, *(Worker(cpu) for cpu in spec.engine.worker_cpus)]
    resources += [*_pages(spec.hugepages), *_mounts(spec.hugepages, host)]
    always = frozenset(chain.from_iterable(_vfs(each, host) for each in spec.bind_vfs))
    for relay in spec.relays:
        resources += _of_relay(relay, spec.vhost_user, always)
    polled = {resource.address for resource in resources if isinstance(resource, Vf)}
    resources += [Vf(address, "vfio-pci") for address in sorted(always - polled)]
    resources += _sockets(spec, uid, gid)
    state = State.of(resources)
    return replace(state, nodes=_nodes(state, host))


def lacking(spec: Spec, host: Host) -> tuple[str, ...]:
    """What the spec names that is not there yet, as sentences. It is used once it is there, and no reason to wait."""
    sentences = []
    for text in spec.bind_vfs:
        netdev, _, count = text.partition(":")
        found = len(_vfs(text, host))
        if found < int(count if count and not is_address(text) else 1):
            has = f"{netdev} has {found} VFs" if found else f"this host has no VFs of '{netdev}'"
            sentences.append(f"bind_vfs: {text}: {has}; they are bound when they appear")
    return tuple(sentences)


def _nodes(state: State, host: Host) -> dict[tuple[Kind, Key], int]:
    """Where what is polled lies, and who polls: a bond is where its first member is."""
    cpus = host.cpu_nodes()
    if not cpus:
        return {}
    nodes: dict[tuple[Kind, Key], int] = {(Kind.WORKER, w.cpu): cpus[w.cpu] for w in state.workers if w.cpu in cpus}
    for name, port in state.ports.items():
        first = pci_functions(port)[:1]
        if first and (node := host.node_of(first[0])) is not None:
            nodes[Kind.PORT, name] = node
    return nodes


def _vfs(text: str, host: Host) -> tuple[str, ...]:
    """The PCI functions that an entry of `bind_vfs` names: an address, a netdev, or a netdev and a count."""
    if is_address(text):
        return (text,)
    netdev, colon, count = text.partition(":")
    found = host.vfs_of(netdev)
    return found[: int(count)] if colon else found


def _of_relay(relay: RelaySpec, vhost_user: VhostUserSpec, bound: frozenset[str]) -> Iterable[Resource]:
    port = _port(relay, vhost_user)
    yield port
    for address in pci_functions(port):
        yield Vf(address, "vfio-pci" if relay.bind or address in bound else "")
    yield Relay(relay.id, port.name, socket_path(vhost_user, relay))
    if relay.cpus is not None:
        yield Pin(relay.id, *relay.cpus)


def _sockets(spec: Spec, uid: int, gid: int) -> Iterable[Socket]:
    """Each path once: a relay may have taken the template's path of another id for its own."""
    vhost_user = spec.vhost_user
    packed = {socket_path(vhost_user, relay): relay.packed for relay in spec.relays}
    if vhost_user.template_sockets:
        packed = {template_path(vhost_user, id_): False for id_ in range(MAX_RELAYS)} | packed
    offered = [key for key in ("csum", "mrgbuf", "tso") if getattr(vhost_user, key)]
    for path, rings in packed.items():
        features = tuple(sorted([*offered, *(["packed"] if rings else [])]))
        if vhost_user.mode == "client":  # the file is QEMU's, and so are its owner and permissions
            yield Socket(path, vhost_user.mode, features=features)
        else:
            yield Socket(path, vhost_user.mode, uid, gid, vhost_user.permissions, features)


def _port(relay: RelaySpec, vhost_user: VhostUserSpec) -> Port:
    return replace(
        _device(relay),
        mtu=mtu(vhost_user, relay),
        queues=relay.queues,
        descriptors=relay.descriptors,
        checksums=vhost_user.csum,
        tso=vhost_user.tso,
    )


def _device(relay: RelaySpec) -> Port:
    if relay.vf is not None:
        return relay.vf
    if relay.bond is None:
        raise SpecUnfit([f"relay {relay.id} has neither a vf nor a bond"])
    bond = relay.bond
    members = tuple(f"{member.name},{member.args}" if member.args else member.name for member in bond.members)
    return Port(bond.name, bond_mode=bond.mode, members=members)


def _owner(vhost_user: VhostUserSpec, host: Host) -> tuple[int, list[str]]:
    if vhost_user.owner is None:
        return host.uid, []
    uid = host.uid_of(vhost_user.owner)
    if uid is None:
        return 0, [_nobody("vhost_user.owner", "user", vhost_user.owner)]
    return uid, []


def _group(vhost_user: VhostUserSpec, host: Host) -> tuple[int, list[str]]:
    if vhost_user.group is None:
        return host.gid, []
    gid = host.gid_of(vhost_user.group)
    if gid is None:
        return 0, [_nobody("vhost_user.group", "group", vhost_user.group)]
    return gid, []


def _nobody(path: str, what: str, name: str) -> str:
    return f"{path}: this host has no {what} '{name}'; create it, name another, or leave the key out"


def _cpus_wrong(engine: EngineSpec, host: Host) -> Iterable[str]:
    named = [("engine.main_cpu", engine.main_cpu), *(("engine.worker_cpus", cpu) for cpu in engine.worker_cpus)]
    for path, cpu in named:
        if not host.runs_on(cpu):
            yield f"{path}: CPU {cpu} does not exist on this host (available: {host.cpus()}); name one that does"


def _pages(entries: Sequence[HugepagesSpec]) -> list[Pages]:
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


def _mounts(entries: Iterable[HugepagesSpec], host: Host) -> list[Mount]:
    """A user or group that this host has not stands in `_unknown`."""
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


def _unknown(entries: Sequence[HugepagesSpec], host: Host) -> Iterable[tuple[str, str, str]]:
    """The key, what it names (`user`, `group`) and the name, of those that this host has not."""
    for index, libvirt in ((index, entry.libvirt) for index, entry in enumerate(entries)):
        if libvirt is not None and libvirt.owner is not None and host.uid_of(libvirt.owner) is None:
            yield f"hugepages[{index}].libvirt.owner", "user", libvirt.owner
        if libvirt is not None and libvirt.group is not None and host.gid_of(libvirt.group) is None:
            yield f"hugepages[{index}].libvirt.group", "group", libvirt.group
