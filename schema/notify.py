"""Tells a service manager how it goes: the protocol of sd_notify(3), a datagram of a few lines."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from collections.abc import Mapping

SHARE = 0.4
"""Of the time within which the manager wants to hear of us: with a ping that often one may be late."""
SEND_TIMEOUT_S = 1.0
_CREDENTIALS = struct.Struct("3i")
"""struct ucred: process, user, group."""


class Notifier:
    """Who was not started by a manager that listens has one too; then nothing happens. Raises nothing: a manager that
    does not hear is no reason to stop."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        self._socket: socket.socket | None = None
        self._status = ""
        self._pinged = float("-inf")
        mine = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        wanted_us = environment.get("WATCHDOG_USEC", "0") if self._address and mine else "0"
        self.watchdog_s = int(wanted_us) / 1e6 if wanted_us.isdecimal() else 0.0
        """Within which time the manager wants to hear that we live; 0: it does not."""

    def ready(self) -> None:
        """What was started does its work now, or goes on with it after `reloading`."""
        self._send("READY=1")

    def reloading(self) -> None:
        """It reads anew what it was told; `ready` follows."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """One line for people, sent when it is another one than before."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text}")

    def alive(self, now: float) -> None:
        """To be called from the loop whose life is meant, at any time; `now` in seconds of a steady clock."""
        if self.watchdog_s and now - self._pinged >= self.watchdog_s * SHARE:
            self._pinged = now
            self._send("WATCHDOG=1")

    @property
    def ping_s(self) -> float:
        """How often `alive` is to be called at least, in seconds."""
        return self.watchdog_s * SHARE if self.watchdog_s else float("inf")

    def forward(self, message: str) -> None:
        """Passes on what a child has said."""
        self._send(message)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, text: str) -> None:
        if not self._address:
            return
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.settimeout(SEND_TIMEOUT_S)
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError):
            self._socket.sendto(text.encode(), address)


class Hearing:
    """The other end, for a parent that stands between the manager and its children. It has no file: whoever is killed
    leaves none behind. Only who runs as the same user is heard."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind("")  # the kernel chooses an abstract name that nobody has
        self._socket.setblocking(False)
        self.address = "@" + self._socket.getsockname()[1:].decode()
        """What `NOTIFY_SOCKET` is to be."""

    def drain(self) -> list[str]:
        """The messages that came since the last call, without waiting."""
        messages: list[str] = []
        while True:
            try:
                message, ancillary, _, _ = self._socket.recvmsg(4096, socket.CMSG_SPACE(_CREDENTIALS.size))
            except BlockingIOError:
                return messages
            if any(_CREDENTIALS.unpack(said)[1] == os.geteuid() for _, _, said in ancillary):
                messages.append(message.decode(errors="replace"))

    def close(self) -> None:
        self._socket.close()
