"""One ZeroMQ endpoint that looks like a REP socket to its clients, and answers many of them at once."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import zmq

MAX_REQUEST_BYTES = 8192
"""The longest sensible one, a bond of eight with long names, has under 400."""
MAX_WIRE_BYTES = 1024 * 1024
"""Beyond this libzmq drops the connection; up to it a request is answered."""

Envelope = tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """What came, and where its reply goes."""

    envelope: Envelope
    payload: bytes | None
    """None: it was too long, or in several parts."""


class EndpointError(Exception):
    """An endpoint can't be opened; the text says why and what to do."""


class Endpoint:
    """A bound ROUTER. Its socket file has the given owner, group and permissions."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], address: str, uid: int, gid: int, mode: int) -> None:
        """Raises EndpointError."""
        self.address = address
        self._path = Path(address.removeprefix("ipc://"))
        self._socket = context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_WIRE_BYTES)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # libzmq replaces whatever file is there, and would leave one that anybody may connect to for a moment.
            before = os.umask(0o177)
            try:
                self._socket.bind(address)
            finally:
                os.umask(before)
            os.chown(self._path, uid, gid)
            os.chmod(self._path, mode)
        except (OSError, zmq.ZMQError) as error:
            self._socket.close()
            why = f"{address} can't be opened: {error}; check its directory, and who else uses it"
            raise EndpointError(why) from None

    @property
    def socket(self) -> zmq.Socket[bytes]:
        return self._socket

    def receive(self) -> Request | None:
        """The next request; None when there is none."""
        try:
            frames = self._socket.recv_multipart(zmq.DONTWAIT)
        except zmq.Again:
            return None
        split = frames.index(b"") + 1 if b"" in frames[:-1] else 1
        payload = frames[split:]
        sound = len(payload) == 1 and len(payload[0]) <= MAX_REQUEST_BYTES
        return Request(tuple(frames[:split]), payload[0] if sound else None)

    def reply(self, envelope: Sequence[bytes], payload: bytes) -> None:
        """To a client that may be gone by now."""
        with contextlib.suppress(zmq.ZMQError):
            self._socket.send_multipart([*envelope, payload], zmq.DONTWAIT)

    def close(self) -> None:
        self._socket.close()
        with contextlib.suppress(OSError):
            self._path.unlink()
