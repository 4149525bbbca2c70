"""vhost-user sockets and the guests on them."""

from __future__ import annotations

import os
import socket as unix
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine.burst import layout as at
from engine.dpdk import layout as dpdk
from engine.dpdk.library import DpdkError
from engine.fault import Refused
from schema.model import Socket

if TYPE_CHECKING:  # importing it compiles, which nothing here needs
    from engine.machine import Machine

FEATURES_OFF = sum(
    1 << bit
    for bit in (
        dpdk.VIRTIO_NET_F_CSUM,
        dpdk.VIRTIO_NET_F_GUEST_CSUM,
        dpdk.VIRTIO_NET_F_GUEST_TSO4,
        dpdk.VIRTIO_NET_F_GUEST_TSO6,
        dpdk.VIRTIO_NET_F_GUEST_ECN,
        dpdk.VIRTIO_NET_F_GUEST_UFO,
        dpdk.VIRTIO_NET_F_HOST_TSO4,
        dpdk.VIRTIO_NET_F_HOST_TSO6,
        dpdk.VIRTIO_NET_F_HOST_ECN,
        dpdk.VIRTIO_NET_F_HOST_UFO,
        dpdk.VIRTIO_NET_F_MRG_RXBUF,
        dpdk.VIRTIO_F_RING_PACKED,
    )
)
"""What no guest is offered: a frame without its checksum, or larger than the wire's, would not leave a VF whole."""
CONNECT_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class Guest:
    """What is known of the guest on a socket."""

    vid: int | None
    features: int
    queues: int
    """Receive queues that the guest has enabled."""
    connects: int


@dataclass(slots=True)
class Open:
    socket: Socket
    slot: int


class Sockets:
    """The open sockets by path."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._free = list(range(machine.guests.size // at.GUEST_SIZE))
        self.by_path: dict[str, Open] = {}

    def open(self, socket: Socket) -> None:
        """Opens a server socket with its owner and permissions; a failure leaves nothing behind."""
        if socket.path in self.by_path:
            raise Refused("exists", f"{socket.path} is open already")
        if socket.mode != "server":
            raise Refused("unsupported", f"{socket.path}: this release has no vhost-user {socket.mode} mode")
        if not self._free:
            raise Refused("limit", f"{socket.path}: the engine has all its sockets open")
        make_way(Path(socket.path))
        slot = self._free.pop(0)
        self._clear(slot, socket.path)
        try:
            self._machine.vhost.open(socket.path, FEATURES_OFF)
        except DpdkError as error:
            self._release(slot)
            raise Refused("socket", f"{socket.path} cannot be opened: {error}") from error
        try:
            own(socket)
        except OSError as error:
            self._machine.vhost.close(socket.path)
            self._release(slot)
            raise Refused("socket", f"{socket.path}: its owner cannot be set: {error.strerror}") from error
        self.by_path = {**self.by_path, socket.path: Open(socket, slot)}

    def _clear(self, slot: int, path: str) -> None:
        guests, base = self._machine.guests, slot * at.GUEST_SIZE
        guests.write_bytes(base, bytes(at.GUEST_SIZE))
        guests.write_bytes(base + at.GUEST_PATH, path.encode() + b"\0")

    def _release(self, slot: int) -> None:
        self._machine.guests.write_bytes(slot * at.GUEST_SIZE, bytes(at.GUEST_SIZE))
        self._free.insert(0, slot)

    def close(self, path: str) -> None:
        """Closes; a connected guest sees its link go. No table may have an entry of this socket."""
        opened = self.require(path)
        try:
            self._machine.vhost.close(path)
        except DpdkError as error:
            raise Refused("socket", f"{path} cannot be closed: {error}") from error
        self.by_path = {key: value for key, value in self.by_path.items() if key != path}
        self._release(opened.slot)

    def change(self, socket: Socket) -> None:
        """Sets owner, group and permissions of an open socket."""
        opened = self.require(socket.path)
        try:
            own(socket)
        except OSError as error:
            raise Refused("socket", f"{socket.path}: its owner cannot be set: {error.strerror}") from error
        opened.socket = socket

    def require(self, path: str) -> Open:
        opened = self.by_path.get(path)
        if opened is None:
            raise Refused("unknown", f"no socket {path} is open")
        return opened

    def guest_block(self, path: str) -> int:
        """Address of the guest block of an open socket."""
        return self._machine.guests.address + self.require(path).slot * at.GUEST_SIZE

    def guest(self, opened: Open) -> Guest:
        guests, base = self._machine.guests, opened.slot * at.GUEST_SIZE
        vid = guests.read(base + at.GUEST_VID)
        return Guest(
            vid=vid - 1 if vid > 0 else None,
            features=guests.read(base + at.GUEST_FEATURES),
            queues=guests.read(base + at.GUEST_RX_QUEUES).bit_count(),
            connects=guests.read(base + at.GUEST_CONNECTS),
        )

    def path_of(self, slot: int) -> str | None:
        """The socket whose guest block has this index."""
        return next((path for path, opened in self.by_path.items() if opened.slot == slot), None)


def observed(socket: Socket) -> Socket:
    """The socket with the owner and permissions that its file has now; as recorded when the file is gone."""
    try:
        found = os.lstat(socket.path)
    except OSError:
        return socket
    return replace(socket, uid=found.st_uid, gid=found.st_gid, permissions=stat.S_IMODE(found.st_mode))


def own(socket: Socket) -> None:
    """Gives the socket's file its owner and permissions. Raises OSError."""
    os.chown(socket.path, socket.uid, socket.gid, follow_symlinks=False)
    os.chmod(socket.path, socket.permissions)


def make_way(path: Path) -> None:
    """Makes the directory and removes a stale socket. Refuses a path at which something else lies."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise Refused("socket", f"{path.parent} cannot hold a socket: {error.strerror}") from error
    if not stat.S_ISSOCK(mode):
        raise Refused("socket", f"{path} exists and is no socket: move it away or choose another path")
    if listening(path):
        raise Refused("socket", f"another process listens on {path}: stop it or choose another path")
    path.unlink(missing_ok=True)


def listening(path: Path) -> bool:
    """Whether somebody accepts connections there; a socket whose process has died refuses them."""
    with unix.socket(unix.AF_UNIX) as probe:
        probe.settimeout(CONNECT_TIMEOUT_S)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
        return True
