"""A service's endpoint, which looks like a REP socket to its clients, and answers many of them at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from schema.wire.listening import Access
from schema.wire.serving import Client, Endpoint
from schema.wire.zmtp import Frame, answering

MAX_REQUEST_BYTES = 8192
"""The longest sensible one, a bond of eight with long names, has under 400."""


MAX_WIRE_BYTES = 1024 * 1024
"""Whoever sends more at once is disconnected; up to it a request is answered."""


@dataclass(frozen=True, slots=True)
class Request:
    """What came, and how it is answered."""

    client: Client
    envelope: tuple[bytes, ...]
    payload: bytes | None
    """None: it was too long, or in several parts."""

    @property
    def alive(self) -> bool:
        """Whether its client is still there."""
        return self.client.alive

    def reply(self, payload: bytes) -> None:
        """To a client that may be gone by now."""
        self.client.reply(*self.envelope, payload)


def opened(address: str, access: Access) -> Endpoint:
    """Raises EndpointError."""
    return Endpoint(Path(address.removeprefix("ipc://")), access, answering(MAX_REQUEST_BYTES, MAX_WIRE_BYTES))


def requests(endpoint: Endpoint) -> Iterator[Request]:
    """Those that came, one of each client; as `Endpoint.receive`."""
    for client, frames in endpoint.receive():
        split = frames.index(b"") + 1 if b"" in frames[:-1] else 0
        envelope, payload = frames[:split], frames[split:]
        alone = payload[0] if len(payload) == 1 else None
        yield Request(client, tuple(map(_short, envelope)), alone if isinstance(alone, bytes) else None)


def _short(frame: Frame) -> bytes:
    """An envelope that was too long to be kept leads nowhere."""
    return frame if isinstance(frame, bytes) else b""
