"""One request and its reply, as virtio-forwarder's clients exchange them."""

from __future__ import annotations

from typing import TypeVar

import zmq
from google.protobuf.message import DecodeError, Message

PORT_CONTROL = "ipc:///var/run/virtio-forwarder/port_control"
STATS = "ipc:///var/run/virtio-forwarder/stats"
CORE_SCHED = "ipc:///var/run/virtio-forwarder/core_sched"
CONFIG = "ipc:///var/run/virtio-forwarder/config"
TIMEOUT_MS = 2000

R = TypeVar("R", bound=Message)


class NoReply(Exception):  # noqa: N818 - what the other side did not do
    """The service did not answer, or not with what was asked for."""


class Service:
    """A REQ socket on one endpoint."""

    def __init__(self, endpoint: str, timeout_ms: int = TIMEOUT_MS) -> None:
        """Raises NoReply when the endpoint is none."""
        self.endpoint = endpoint
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.REQ)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RCVTIMEO, timeout_ms)
        self._timeout_ms = timeout_ms
        try:
            self._socket.connect(endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise NoReply(f"{endpoint}: {error}; an endpoint looks like {STATS}") from None

    def ask(self, request: Message | bytes, reply: R) -> R:
        """Fills in `reply`. Raises NoReply."""
        self.send(request)
        try:
            reply.ParseFromString(self._socket.recv())
        except zmq.Again:
            raise NoReply(
                f"{self.endpoint}: no reply within {self._timeout_ms / 1000:g} s; is vio4wd running, with this service?"
            ) from None
        except DecodeError:
            raise NoReply(f"{self.endpoint}: what came back is no {reply.DESCRIPTOR.name}") from None
        return reply

    def send(self, request: Message | bytes) -> None:
        self._socket.send(request if isinstance(request, bytes) else request.SerializePartialToString())

    def close(self) -> None:
        self._context.destroy(linger=0)

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
