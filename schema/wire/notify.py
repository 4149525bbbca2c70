"""Tells a service manager how it goes: the protocol of sd_notify(3), a datagram of a few lines."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import time
from collections.abc import Mapping

SHARE = 0.4
"""Of the time within which the manager wants to hear of us: with a ping that often one may be late."""
SEND_TIMEOUT_S = 1.0
INHERITED = "VIO4WD_NOTIFY_FD"
"""Names the descriptor of a socket on which a parent of ours hears, before the manager."""
MAX_MESSAGES = 32
"""That many are read at a time; a watch sends one every few seconds."""


class Notifier:
    """Who was not started by a manager that listens has one too; then nothing happens. Raises nothing: a manager that
    does not hear is no reason to stop."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._socket = _inherited(environment)
        self._address = "" if self._socket else environment.get("NOTIFY_SOCKET", "")
        self._status = ""
        self._pinged = float("-inf")
        mine = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        wanted_us = environment.get("WATCHDOG_USEC", "0") if (self._address or self._socket) and mine else "0"
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
        text = " ".join(text.splitlines())  # each line of a message is a word of the protocol's
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
        with contextlib.suppress(OSError):
            message = text.encode(errors="backslashreplace")
            if self._address:
                self._to_manager(message)
            elif self._socket is not None:
                self._socket.send(message)

    def _to_manager(self, message: bytes) -> None:
        """Raises OSError."""
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.settimeout(SEND_TIMEOUT_S)
        self._socket.sendto(message, "\0" + self._address[1:] if self._address.startswith("@") else self._address)


def _inherited(environment: Mapping[str, str]) -> socket.socket | None:
    """The socket that a parent has left us, kept from children of ours; None when there is none."""
    number = environment.get(INHERITED, "")
    if not number.isdecimal():
        return None
    try:
        if not stat.S_ISSOCK(os.fstat(int(number)).st_mode):
            return None
        os.set_inheritable(int(number), False)
        found = socket.socket(fileno=os.dup(int(number)))
    except (OSError, OverflowError):
        return None
    found.setblocking(False)  # it has room for dozens of messages, unless the parent is stopped
    return found


class NotifySocket:
    """The other end, for a parent that stands between the manager and its child: a pair of sockets without a name, of
    which the child inherits one. Nobody else can reach it, as anybody can one that has a name."""

    def __init__(self) -> None:
        self._socket, self._child = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setblocking(False)
        self.descriptor = self._child.fileno()
        """What the child is to inherit."""
        self.environment = {INHERITED: str(self.descriptor)}
        """By which it finds that."""

    def drain(self) -> list[str]:
        """The messages that came since the last call, without waiting; what can't be read now is read later."""
        messages: list[str] = []
        with contextlib.suppress(OSError):
            while len(messages) < MAX_MESSAGES:
                messages.append(self._socket.recv(4096).decode(errors="replace"))
        return messages

    def close(self) -> None:
        self._socket.close()
        self._child.close()
