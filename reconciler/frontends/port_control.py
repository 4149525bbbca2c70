"""What a port control request comes to: a change of what is wanted, or an answer. Pure; who asks, waits and replies is
services.py's business.

The rules are virtio-forwarder's. Where it gave an error code, its source is named as it named it, and the sentence
after that is ours.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reconciler.legacy.virtioforwarder_pb2 import PortControlRequest, PortControlResponse
from schema.model import MAX_RELAYS
from schema.paths import normal_path
from schema.rules import claims
from schema.rules.claims import Claim, bare, rivals
from schema.vf import is_address

OWNER = "port-control"
MODES = ("round-robin", "active-backup", "balance", "broadcast", "802.3ad", "tlb", "alb")
"""By DPDK's numbers."""
MAX_MEMBERS = 8


@dataclass(frozen=True, slots=True)
class ClaimedRelay:
    """A relay that somebody wants already."""

    id: int
    owner: str
    device: str
    """The PCI address, or the bond's name."""
    claims: frozenset[Claim]

    @property
    def devices(self) -> frozenset[Claim]:
        """Its VFs, and its bond."""
        return frozenset(claim for claim in self.claims if claim.startswith(("VF ", "bond ")))

    def has_socket(self, path: str) -> bool:
        return claims.socket(path) in self.claims


@dataclass(frozen=True, slots=True)
class RelayTable:
    """What there is when a request comes in."""

    relays: Mapping[int, ClaimedRelay] = field(default_factory=dict)
    sockets: tuple[str, ...] = ()
    """The template's path of each id."""
    dynamic: bool = False
    """Whether sockets come and go with requests."""
    template: bool = False
    """Whether those of the template exist without a relay, too."""

    def taken(self, mine: frozenset[Claim]) -> str:
        """Who has what of these claims, as a sentence; empty: nobody."""
        for id_, claim in rivals(mine, {id_: relay.claims for id_, relay in self.relays.items()}):
            return f"{bare(claim)} belongs to relay {id_}, wanted by {self.relays[id_].owner}"
        return ""


@dataclass(frozen=True, slots=True)
class AddRelay:
    """A relay that port control wants from now on."""

    relay: int
    wanted: dict[str, Any]
    """As an entry of `relays`, without the id."""
    source: str


@dataclass(frozen=True, slots=True)
class RemoveRelay:
    """A relay that it wants no more."""

    relay: int
    source: str


Decision = AddRelay | RemoveRelay | PortControlResponse


class Refused(Exception):  # noqa: N818 - an answer
    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


def decide(request: PortControlRequest, table: RelayTable) -> Decision:
    """What the request comes to."""
    op, source = request.op, _source(request)
    try:
        device = _device(request)
        if op == PortControlRequest.ADD:
            return _add(request, device, table, source)
        if op == PortControlRequest.REMOVE:
            return _remove(request, device, table, source)
        if op == PortControlRequest.ADD_SOCK:
            return _add_sock(request, device, table, source)
        if op == PortControlRequest.REMOVE_SOCK:
            return _remove_sock(request, device, table, source)
        return _query(request, table)
    except Refused as refused:
        return error(refused.code, source, str(refused))


def ok(query: str | None = None) -> PortControlResponse:
    return PortControlResponse(status=PortControlResponse.OK, query_string=query)


def error(code: int, source: str, sentence: str) -> PortControlResponse:
    """An ERROR as it goes over the wire; `code` as errno.h numbers them."""
    return PortControlResponse(
        status=PortControlResponse.ERROR, error_code=code, error_code_source=f"{source}: {sentence}"[:1000]
    )


def as_printed(device: str) -> str:
    """A device as the old daemon printed it: PCI addresses in capitals, `0000:5E:0A.3`."""
    return device.upper() if is_address(device) else device


def _source(request: PortControlRequest) -> str:
    bond = len(request.pci_addrs) > 1
    return {
        PortControlRequest.ADD: "virtio_forwarder_bond_add()" if bond else "virtio_forwarder_add_vf2()",
        PortControlRequest.REMOVE: "virtio_forwarder_remove_vf2()",
        PortControlRequest.ADD_SOCK: "virtio_add_sock_dev_pair()",
        PortControlRequest.REMOVE_SOCK: "virtio_remove_sock_dev_pair()",
    }.get(request.op, "virtio_query_pci()")


@dataclass(frozen=True, slots=True)
class _Device:
    """What a request names: `name` is empty where it names none."""

    name: str
    claims: frozenset[Claim]
    wanted: dict[str, Any]


def _device(request: PortControlRequest) -> _Device:
    addresses = [_address(each) for each in request.pci_addrs]
    adds = request.op in (PortControlRequest.ADD, PortControlRequest.ADD_SOCK)
    if len(set(addresses)) < len(addresses):
        raise Refused(errno.EINVAL, "a PCI address stands twice")
    if len(addresses) > MAX_MEMBERS:
        raise Refused(errno.EINVAL, f"a bond has up to {MAX_MEMBERS} members, not {len(addresses)}")
    if len(addresses) > 1 and not request.name:
        raise Refused(errno.EINVAL, "several PCI addresses make a bond, and a bond needs a name")
    if adds and request.name and len(addresses) < 2:
        raise Refused(errno.EINVAL, "a name stands for a bond, and a bond needs at least two PCI addresses")
    if request.name and not request.name.startswith("net_bonding"):
        raise Refused(errno.EINVAL, "the name of a bond begins with net_bonding")
    if adds and request.name and request.mode >= len(MODES):
        raise Refused(errno.EINVAL, f"a bond's mode is a number from 0 to {len(MODES) - 1}")
    vfs = frozenset(map(claims.vf, addresses))
    if request.name and not (len(addresses) == 1 and not adds):
        bond = {"name": request.name, "mode": MODES[request.mode] if adds else "", "members": addresses}
        return _Device(request.name, frozenset({claims.bond(request.name), *vfs}), {"bond": bond})
    return _Device(addresses[0] if addresses else "", vfs, {"vf": addresses[0]} if addresses else {})


def _address(pci: PortControlRequest.PciAddress) -> str:
    if pci.bus > 0xFF or pci.slot > 0x1F or pci.function > 7:
        raise Refused(errno.EINVAL, "a PCI address has a bus up to ff, a slot up to 1f and a function up to 7")
    return f"{pci.domain:04x}:{pci.bus:02x}:{pci.slot:02x}.{pci.function:x}"


def _add(request: PortControlRequest, device: _Device, table: RelayTable, source: str) -> Decision:
    id_ = _id(request)
    if not device.name:
        raise Refused(errno.EINVAL, "no PCI address is given")
    there = table.relays.get(id_)
    if there is not None and there.devices == device.claims:
        if request.conditional and "bond" not in device.wanted:  # of bonds the old daemon asked no conditions
            return ok()
        raise Refused(errno.EEXIST, f"relay {id_} has {device.name} already")
    if there is not None:
        raise Refused(errno.EBUSY, f"relay {id_} has {there.device}, wanted by {there.owner}")
    _refuse_taken(table.taken(device.claims) or table.taken(frozenset({claims.socket(table.sockets[id_])})))
    return AddRelay(id_, device.wanted, source)


def _remove(request: PortControlRequest, device: _Device, table: RelayTable, source: str) -> Decision:
    id_ = _id(request)
    there = table.relays.get(id_)
    if there is None and request.conditional:
        return ok()
    if not device.name:
        raise Refused(errno.EINVAL, "neither a PCI address nor a bond's name is given")
    if there is None:
        raise Refused(errno.ENOENT, f"relay {id_} has no device")
    if there.device != device.name:
        raise Refused(errno.EINVAL, f"relay {id_} has {there.device}, not {device.name}")
    return _removal(there, source)


def _add_sock(request: PortControlRequest, device: _Device, table: RelayTable, source: str) -> Decision:
    """`conditional` changes nothing: what is there already is an error, as it was to the old daemon."""
    if not table.dynamic:
        raise Refused(errno.EPERM, "sockets are not dynamic here; set vhost_user.dynamic_sockets: true")
    path = _path(request)
    if not device.name:
        raise Refused(errno.EINVAL, "no PCI address is given")
    _refuse_taken(table.taken(frozenset({claims.socket(path)})) or table.taken(device.claims))
    for id_ in range(MAX_RELAYS):
        if id_ not in table.relays:
            return AddRelay(id_, {**device.wanted, "socket": path}, source)
    raise Refused(errno.ENOSPC, f"all {MAX_RELAYS} relays are taken")


def _remove_sock(request: PortControlRequest, device: _Device, table: RelayTable, source: str) -> Decision:
    """Conditional or not, as `_add_sock`. A socket of the template stays, since it is there without a relay."""
    path = _path(request) if request.vhost_path else ""
    if not path and not device.name:
        raise Refused(errno.EINVAL, "neither a socket nor a device is given")
    by_path = {relay.id for relay in table.relays.values() if path and relay.has_socket(path)}
    by_device = {relay.id for relay in table.relays.values() if device.name and relay.device == device.name}
    found = by_path & by_device if path and device.name else by_path | by_device
    if found:
        return _removal(table.relays[min(found)], source)
    if by_path or by_device:
        raise Refused(errno.EINVAL, f"{path} and {device.name} do not belong together")
    raise Refused(errno.ENOENT, f"nothing is relayed for {path or device.name}")


def _query(request: PortControlRequest, table: RelayTable) -> Decision:
    path = normal_path(request.vhost_path)
    for relay in table.relays.values():
        if path and relay.has_socket(path):
            return ok(as_printed(relay.device))
    if table.template and path in table.sockets:
        return ok("")
    raise Refused(errno.ENOENT, f"no relay is served on '{request.vhost_path}'")


def _removal(relay: ClaimedRelay, source: str) -> RemoveRelay:
    if relay.owner != OWNER:
        raise Refused(errno.EPERM, f"relay {relay.id} is wanted by {relay.owner}, and only that can take it back")
    return RemoveRelay(relay.id, source)


def _id(request: PortControlRequest) -> int:
    if not request.HasField("virtio_id"):
        raise Refused(errno.EINVAL, "virtio_id is not given")
    if request.virtio_id >= MAX_RELAYS:
        raise Refused(errno.EINVAL, f"relays run from 0 to {MAX_RELAYS - 1}")
    return request.virtio_id


def _path(request: PortControlRequest) -> str:
    path = request.vhost_path
    if not path.startswith("/") or ".." in path.split("/") or len(path.encode()) > 107 or not path.isprintable():
        raise Refused(errno.EINVAL, "vhost_path must be an absolute path of at most 107 bytes, without '..'")
    return normal_path(path)


def _refuse_taken(sentence: str) -> None:
    """Raises Refused when there is one."""
    if sentence:
        raise Refused(errno.EBUSY, sentence)
