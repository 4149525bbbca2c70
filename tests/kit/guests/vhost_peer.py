"""The other end of a vhost-user socket, message by message: well-behaved, or as wrong as a test wants it.

What QEMU is to vio4wd, without a guest: it has memory (a memfd) and rings of zeros, and no driver moves anything.
Message numbers and payloads are those of QEMU's docs/interop/vhost-user.rst.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import socket
import struct
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

GET_FEATURES, SET_FEATURES, SET_OWNER, RESET_OWNER, SET_MEM_TABLE, SET_LOG_BASE, SET_LOG_FD = range(1, 8)
SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE, GET_VRING_BASE, SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR = range(
    8, 15
)
GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES, GET_QUEUE_NUM, SET_VRING_ENABLE, SEND_RARP, SET_MTU = range(15, 21)
SET_BACKEND_REQ_FD, IOTLB = 21, 22
POSTCOPY_ADVISE, POSTCOPY_LISTEN, POSTCOPY_END, GET_INFLIGHT_FD, SET_INFLIGHT_FD = range(28, 33)
SET_STATUS, GET_STATUS = 39, 40

VERSION, NEED_REPLY = 1, 8
PROTOCOL_FEATURES, VERSION_1, LOG_ALL = 1 << 30, 1 << 32, 1 << 26
NO_FD = 0x100
_HEADER = struct.Struct("<III")
MEMORY_BYTES = 4 << 20
USER_ADDRESS = 0x7000_0000_0000
"""Where the memory would lie in QEMU's own address space, to which ring addresses refer."""
RING_SIZE = 256
RING_BYTES = 16_384
"""More than a ring of RING_SIZE takes: its descriptors, what is available, what is used, each on pages of its own."""
USED = 12_288
"""Where in it the used ring begins: with its flags."""
REPLY_S = 5.0


class PeerGone(Exception):  # noqa: N818 - often it is what a test waits for
    """The backend has closed the connection."""


def u64(value: int) -> bytes:
    return struct.pack("<Q", value & (1 << 64) - 1)


def state(index: int, number: int) -> bytes:
    return struct.pack("<II", index & 0xFFFFFFFF, number & 0xFFFFFFFF)


def ring_address(index: int, user_address: int = USER_ADDRESS) -> bytes:
    """SET_VRING_ADDR's payload for a ring that lies where `Peer` puts it, or relative to another address."""
    at = user_address + index * RING_BYTES
    return struct.pack("<IIQQQQ", index, 0, at, at + USED, at + 8192, 0)


def ring_address_ending_at(index: int, end: int) -> bytes:
    """SET_VRING_ADDR's payload for a ring of which all but its used ring lies where `Peer` puts it: of that there is
    one byte before `end`, an offset in the memory."""
    at = USER_ADDRESS + index * RING_BYTES
    return struct.pack("<IIQQQQ", index, 0, at, USER_ADDRESS + end - 1, at + 8192, 0)


def region(guest_address: int, size: int, user_address: int, offset: int) -> bytes:
    return struct.pack("<QQQQ", guest_address, size, user_address, offset)


def memory_table(*regions: bytes) -> bytes:
    return struct.pack("<II", len(regions), 0) + b"".join(regions)


def seal(fd: int) -> None:
    """Memory keeps its size from now on, as QEMU sees to for the log of what was written to."""
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)


WHOLE_MEMORY = memory_table(region(0, MEMORY_BYTES, USER_ADDRESS, 0))


class Peer:
    """A connection to the socket at `path`. What it opens it closes at the end of its block."""

    def __init__(self, path: Path, patience_s: float = REPLY_S) -> None:
        self.messages = 0
        """How many were sent."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(patience_s)
        self._fds: list[int] = []
        try:
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._socket.close()
        while self._fds:
            os.close(self._fds.pop())

    def owned(self, fd: int) -> int:
        """A descriptor that this closes at its end."""
        self._fds.append(fd)
        return fd

    def memory(self, size: int = MEMORY_BYTES) -> int:
        """A descriptor of new memory, zeros, that can be shared."""
        fd = self.owned(os.memfd_create("peer", os.MFD_ALLOW_SEALING))
        os.ftruncate(fd, size)
        return fd

    def event(self) -> int:
        return self.owned(os.eventfd(0, os.EFD_NONBLOCK))

    def raw(self, frame: bytes, fds: Sequence[int] = ()) -> None:
        """Send bytes as they are. Raises PeerGone."""
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            self._socket.sendmsg([frame], ancillary)
            self.messages += 1
        except (BrokenPipeError, ConnectionResetError) as error:
            raise PeerGone from error

    def send(self, request: int, payload: bytes = b"", fds: Sequence[int] = (), flags: int = VERSION) -> None:
        """Send a message. Raises PeerGone."""
        self.raw(_HEADER.pack(request, flags, len(payload)) + payload, fds)

    def ask(self, request: int, payload: bytes = b"", fds: Sequence[int] = (), flags: int = VERSION) -> bytes:
        """Send a message and give its answer's payload. Raises PeerGone, TimeoutError."""
        self.send(request, payload, fds, flags)
        return self.answer()

    def answer(self) -> bytes:
        """Raises PeerGone, TimeoutError."""
        _, _, size = _HEADER.unpack(self._read(_HEADER.size))
        return self._read(size)

    def _read(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            try:
                part, fds, _, _ = socket.recv_fds(self._socket, size - len(found), 8)
            except ConnectionResetError as error:
                raise PeerGone from error
            for fd in fds:
                os.close(fd)
            if not part:
                raise PeerGone
            found += part
        return found

    def gone(self) -> bool:
        """Whether the backend closes the connection; answers that come before are read away."""
        with contextlib.suppress(TimeoutError):
            try:
                while True:
                    self.answer()
            except PeerGone:
                return True
        return False

    def ended(self) -> bool:
        """Whether the backend has closed the connection, as far as is known without waiting."""
        try:
            return not self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True

    def introduce(self, features: int = PROTOCOL_FEATURES | VERSION_1) -> int:
        """Agree on features: what is offered."""
        self.send(SET_OWNER)
        offered = int.from_bytes(self.ask(GET_FEATURES), "little")
        protocol = int.from_bytes(self.ask(GET_PROTOCOL_FEATURES), "little")
        # VHOST_USER_PROTOCOL_F_MQ and REPLY_ACK; not STATUS, with which a driver would have to say that it is ready.
        self.send(SET_PROTOCOL_FEATURES, u64(protocol & 0b1001))
        self.send(SET_FEATURES, u64(features & offered))
        return offered

    def set_up(self, index: int) -> None:
        """Give a ring all that it needs, and enable it."""
        self.send(SET_VRING_CALL, u64(index), [self.event()])
        self.send(SET_VRING_NUM, state(index, RING_SIZE))
        self.send(SET_VRING_BASE, state(index, 0))
        self.send(SET_VRING_ADDR, ring_address(index))
        self.send(SET_VRING_KICK, u64(index), [self.event()])
        self.send(SET_VRING_ENABLE, state(index, 1))

    def start(self, pairs: int = 1, features: int = PROTOCOL_FEATURES | VERSION_1) -> int:
        """All that a well-behaved guest with so many pairs of queues does: its memory's descriptor."""
        self.introduce(features)
        memory = self.memory()
        self.send(SET_MEM_TABLE, WHOLE_MEMORY, [memory])
        for index in range(2 * pairs):
            self.set_up(index)
        self.sync()
        return memory

    def sync(self) -> None:
        """Wait until all that was sent has been read. Raises PeerGone, TimeoutError."""
        self.ask(GET_FEATURES)
