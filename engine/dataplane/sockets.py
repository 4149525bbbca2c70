"""vhost-user sockets and the guests on them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from engine.api.fault import Refused
from engine.burst.compiled import layout as at
from engine.burst.compiled.memory import Block
from engine.dataplane.refusals import Refusals, reason
from engine.dataplane.socket_file import Stamp, file_at, own, prepare, replaced_by, shut_out, stamp
from engine.dpdk import layout as dpdk
from engine.dpdk.error_causes import why
from engine.dpdk.library import DpdkError
from schema.model import Socket

if TYPE_CHECKING:  # importing it compiles, which nothing here needs
    from engine.dataplane.context import Context

OFFERS: Mapping[str, tuple[int, ...]] = {
    "csum": (dpdk.VIRTIO_NET_F_CSUM, dpdk.VIRTIO_NET_F_GUEST_CSUM),
    "mrgbuf": (dpdk.VIRTIO_NET_F_MRG_RXBUF,),
    "packed": (dpdk.VIRTIO_F_RING_PACKED,),
    "tso": (dpdk.VIRTIO_NET_F_HOST_TSO4, dpdk.VIRTIO_NET_F_HOST_TSO6),
}
"""The feature bits of each word that a socket's `features` may hold."""
NEVER_OFFERED = (
    dpdk.VIRTIO_NET_F_GUEST_TSO4,
    dpdk.VIRTIO_NET_F_GUEST_TSO6,
    dpdk.VIRTIO_NET_F_GUEST_ECN,
    dpdk.VIRTIO_NET_F_GUEST_UFO,
    dpdk.VIRTIO_NET_F_HOST_ECN,
    dpdk.VIRTIO_NET_F_HOST_UFO,
)
"""A VF receives no long frames, for which a guest would set aside buffers of 64 KiB each; and not every NIC can cut
those of UDP, or of TCP with ECN's flags."""
PEER_WORDS = (at.GUEST_PEER, at.GUEST_RX_QUEUES, at.GUEST_TX_QUEUES, at.GUEST_REGIONS, at.GUEST_STALE)
"""What a guest block says of who is connected."""
LEAST_MOST_MEMORY = 1 << 40
MEMORY_SHARE = 4
"""A guest's memory may be so many times the host's own, and 1 TiB in any case: what is larger than the host can only be
sparse, and an engine's address space is that of all its guests."""


@dataclass(frozen=True, slots=True)
class Guest:
    """What is known of the guest on a socket."""

    vid: int | None
    features: int
    queues: int
    """Receive queues that the guest has enabled."""
    connects: int
    ring: int
    """Where its first queue lies in our memory."""

    @property
    def migrating(self) -> bool:
        """Whether QEMU has memory noted that vio4wd writes to, as it does while it migrates the guest."""
        return self.vid is not None and bool(self.features & (1 << dpdk.VHOST_F_LOG_ALL))


@dataclass(slots=True)
class OpenSocket:
    socket: Socket
    slot: int
    tried: Stamp | None = None
    """What lay at the path when DPDK was last made to connect there, in client mode."""
    made: tuple[int, int] | None = None
    """Device and inode of the file that was made, in server mode."""
    located: tuple[int, int | None] = (0, None)
    """Which guest on it, counted from 1, and the NUMA node of its memory: together, since two threads look."""
    refusals: Refusals = field(default_factory=Refusals)


class Sockets:
    """The open sockets by path."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._free = list(range(context.guests.size // at.GUEST_SIZE))
        self._nobody = Block(at.GUEST_SIZE)
        """The guest of a socket that could not be opened again: none, for ever."""
        self.by_path: dict[str, OpenSocket] = {}

    def open(self, socket: Socket) -> None:
        """Opens a socket, a server's with its owner and permissions; a failure leaves nothing behind."""
        if socket.path in self.by_path:
            raise Refused("exists", f"{socket.path} is open already")
        if not self._free:
            raise Refused("limit", f"{socket.path}: the engine has all its {len(self.by_path)} sockets open")
        features_off(socket.features)
        prepare(socket)
        slot = self._free.pop(0)
        self._clear(slot, socket.path)
        opened = OpenSocket(socket, slot)
        try:
            self._start(opened)
        except Refused:
            self._release(slot)
            raise
        self.by_path = {**self.by_path, socket.path: opened}

    def _start(self, opened: OpenSocket) -> None:
        socket, vhost = opened.socket, self._context.vhost
        opened.tried = stamp(socket.path)
        try:
            vhost.open(socket.path, features_off(socket.features), socket.mode == "client")
        except DpdkError as error:
            raise Refused("socket", f"{socket.path} cannot be opened: {why(error).sentence}") from error
        try:
            opened.made = file_at(socket)
            own(socket, opened.made)
        except OSError as error:
            vhost.close(socket.path)
            raise Refused("socket", f"{socket.path}: its owner cannot be set: {error.strerror}") from error

    def appeared(self) -> list[str]:
        """The client sockets at whose path a new socket lies to which nobody is connected."""
        return [path for path, opened in self.by_path.items() if self._appeared(opened)]

    def _appeared(self, opened: OpenSocket) -> bool:
        if opened.socket.mode != "client" or self.connected(opened):
            return False
        found = stamp(opened.socket.path)
        if found is None:
            opened.tried = None  # what comes next is another one, even if nothing tells them apart
        return found != opened.tried

    def vanished(self) -> list[str]:
        """The server sockets whose file was removed. What replaced one is another's, and closing would remove it."""
        return [path for path, opened in self.by_path.items() if opened.made and file_at(opened.socket) is None]

    def reachable(self, opened: OpenSocket) -> bool:
        """Whether a guest that comes finds what is open here."""
        return file_at(opened.socket) == opened.made

    def in_the_way(self, opened: OpenSocket) -> str | None:
        """What keeps a guest that is yet to come from this socket, in words; None when nothing does."""
        if not self.reachable(opened):
            return replaced_by(opened.socket.path)
        return None if opened.made is None else shut_out(opened.socket)

    def reopen(self, path: str) -> None:
        """Opens a socket anew: a client's so that DPDK connects now, instead of within the second that it sleeps
        between attempts; a server's so that its file is there again.

        No table may have an entry of this socket. Raises Refused when it can't be opened again; then it is closed.
        """
        opened = self.require(path)
        self._context.vhost.close(path)
        for word in PEER_WORDS:  # of one who came at the last moment
            self._context.guests.write(opened.slot * at.GUEST_SIZE + word, 0)
        try:
            prepare(opened.socket)
            self._start(opened)
        except Refused:
            self._forget(opened)
            raise

    def connected(self, opened: OpenSocket) -> bool:
        """Whether somebody is at the other end, his driver ready or not."""
        return self._word(opened, at.GUEST_PEER) != 0

    def check_replace(self, socket: Socket) -> None:
        """Refuses what is known to fail before the socket of this path is closed for another of the same path."""
        opened = self.require(socket.path)
        features_off(socket.features)
        if opened.socket.mode == "client" and socket.mode == "server" and self.connected(opened):
            raise Refused("socket", f"QEMU listens on {socket.path}: end that guest, and vio4wd will listen there")

    def _clear(self, slot: int, path: str) -> None:
        guests, base = self._context.guests, slot * at.GUEST_SIZE
        guests.write_bytes(base, bytes(at.GUEST_SIZE))
        guests.write_bytes(base + at.GUEST_PATH, path.encode() + b"\0")
        guests.write(base + at.GUEST_MOST_MEMORY, most_memory())
        guests.write(base + at.GUEST_MOST_LOST, Refusals().most)

    def _release(self, slot: int) -> None:
        self._context.guests.write_bytes(slot * at.GUEST_SIZE, bytes(at.GUEST_SIZE))
        self._free.insert(0, slot)

    def close(self, path: str) -> None:
        """Closes; a connected guest sees its link go. No table may have an entry of this socket."""
        opened = self.require(path)
        try:
            self._context.vhost.close(path)
        except DpdkError as error:
            raise Refused("socket", f"{path} cannot be closed: {why(error).sentence}") from error
        self._forget(opened)

    def _forget(self, opened: OpenSocket) -> None:
        self.by_path = {key: value for key, value in self.by_path.items() if value is not opened}
        self._release(opened.slot)

    def change(self, socket: Socket) -> None:
        """Sets owner, group and permissions of an open socket."""
        opened = self.require(socket.path)
        try:
            own(socket, opened.made)
        except OSError as error:
            raise Refused("socket", f"{socket.path}: its owner cannot be set: {error.strerror}") from error
        opened.socket = socket

    def require(self, path: str) -> OpenSocket:
        opened = self.by_path.get(path)
        if opened is None:
            raise Refused("unknown", f"no socket {path} is open")
        return opened

    def guest_block(self, path: str) -> int:
        """Address of the guest block of a socket; one that is not open has a guest block without a guest."""
        opened = self.by_path.get(path)
        if opened is None:
            return self._nobody.address
        return self._context.guests.address + opened.slot * at.GUEST_SIZE

    def guest(self, opened: OpenSocket) -> Guest:
        guests, base = self._context.guests, opened.slot * at.GUEST_SIZE
        vid = guests.read(base + at.GUEST_VID)
        return Guest(
            vid=abs(vid) - 1 if vid != 0 else None,
            features=guests.read(base + at.GUEST_FEATURES),
            queues=guests.read(base + at.GUEST_RX_QUEUES).bit_count(),
            connects=guests.read(base + at.GUEST_CONNECTS),
            ring=guests.read(base + at.GUEST_RING),
        )

    def locate(self, opened: OpenSocket) -> int | None:
        """The NUMA node of the guest's memory; None without a guest, and where there is only one node."""
        guest = self.guest(opened)
        if guest.vid is None:
            return None
        if opened.located[0] != guest.connects:
            opened.located = guest.connects, self._context.numa.node_of(guest.ring)
        return opened.located[1]

    def refused(self, path: str, now: float) -> str | None:
        """Somebody was cut off: what to log of it, None when enough was said already. `now` in monotonic seconds."""
        opened = self.require(path)
        request, lost = self._word(opened, at.GUEST_REFUSED), self._word(opened, at.GUEST_LOST)
        if request == at.DESCRIPTORS_SHORT:
            opened.refusals.turned_away(now, opened.socket.mode == "client")
        pause = opened.refusals.pause(lost, now)
        line = opened.refusals.line(request, now)
        if pause is None:
            return line
        return f"{reason(request)}: {lost} are lost by now, so nobody is let in for {pause:.0f} s"

    def admit(self, now: float) -> list[str]:
        """The sockets whose pause is over. They let somebody in again; a client's must be opened anew for that."""
        over = []
        for path, opened in self.by_path.items():
            if opened.refusals.over(self._word(opened, at.GUEST_LOST), now):
                self._context.guests.write(opened.slot * at.GUEST_SIZE + at.GUEST_MOST_LOST, opened.refusals.most)
                opened.tried = None
                over.append(path)
        return over

    def _word(self, opened: OpenSocket, word: int) -> int:
        return self._context.guests.read(opened.slot * at.GUEST_SIZE + word)

    def path_of(self, slot: int) -> str | None:
        """The socket whose guest block has this index."""
        return next((path for path, opened in self.by_path.items() if opened.slot == slot), None)


def most_memory() -> int:
    """The largest memory of a guest in bytes."""
    return max(LEAST_MOST_MEMORY, MEMORY_SHARE * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def observed(opened: OpenSocket) -> Socket:
    """The socket with the owner and permissions that its file has now; as recorded when that is gone or replaced, or
    QEMU's."""
    socket = opened.socket
    try:
        found = os.lstat(socket.path)
    except OSError:
        return socket
    if (found.st_dev, found.st_ino) != opened.made:
        return socket
    return replace(socket, uid=found.st_uid, gid=found.st_gid, permissions=stat.S_IMODE(found.st_mode))


def features_off(offered: Iterable[str]) -> int:
    """The mask of what a guest is not offered. Raises Refused for a word that stands for nothing."""
    unknown = sorted(set(offered) - OFFERS.keys())
    if unknown:
        raise Refused("bad-request", f"no feature is called {unknown[0]}; there are {', '.join(OFFERS)}")
    hidden = [bit for word, bits in OFFERS.items() if word not in offered for bit in bits]
    return sum(1 << bit for bit in (*hidden, *NEVER_OFFERED))
