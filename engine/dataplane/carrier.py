"""The network interfaces below virtual devices, for drivers that do not say what has become of them."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterable
from pathlib import Path

_LINK_GROUP = 1
"""RTMGRP_LINK of linux/rtnetlink.h."""
_NEWS_BYTES = 65_536
_NETWORK = Path("/sys/class/net")
_SILENT = ("net_af_packet", "net_tap")
"""net_af_packet of 22.11 says that its link is up whatever happens, net_tap tells nobody when it changes."""


def carrier(device: str, interface: str | None = None) -> bool | None:
    """Whether the kernel interface below a virtual device has a carrier; None for devices that can be asked.

    `device` is a virtual device with its arguments, `interface` what lies below it where that is called otherwise by
    now. An interface that is down or gone has none.
    """
    interface = interface or interface_of(device)
    if interface is None:
        return None
    try:
        return (_NETWORK / interface / "carrier").read_text().strip() == "1"
    except OSError:
        return False


def interface_of(device: str) -> str | None:
    """The kernel interface below a virtual device of a driver that stays silent about it."""
    name, *arguments = device.split(",")
    found = next((each.removeprefix("iface=") for each in arguments if each.startswith("iface=")), None)
    return found if name.startswith(_SILENT) else None


class Interfaces:
    """Remembers which interface lay below a virtual device since it was first looked at: names are used again, and the
    device goes on polling what is no longer there, or what is called otherwise by now."""

    def __init__(
        self,
        index_of: Callable[[str], int] = socket.if_nametoindex,
        name_of: Callable[[int], str] = socket.if_indextoname,
    ) -> None:
        """How the kernel numbers and names interfaces. Both raise OSError for what is not there."""
        self._index_of, self._name_of = index_of, name_of
        self._indices: dict[str, int] = {}
        self.renamed: dict[str, str] = {}
        """What the interface below a device is called now. Replaced, never changed: any thread may read it."""

    def gone(self, devices: Iterable[str]) -> list[str]:
        """Those of the attached devices, each with its arguments, whose interface is another one or none. What is not
        named is forgotten."""
        now = {device: self.index(device) for device in devices if interface_of(device)}
        renamed = {device: self._name_now(device) for device, index in now.items() if not index}
        gone = [
            device
            for device, index in now.items()
            if not renamed.get(device) and (not index or index != self._indices.get(device, index))
        ]
        self._indices = {d: index or self._indices[d] for d, index in now.items() if d not in gone}
        self.renamed = {device: name for device, name in renamed.items() if name}
        return gone

    def index(self, device: str) -> int:
        """Of the interface that a device names; 0: there is none, or the device names none."""
        interface = interface_of(device)
        try:
            return self._index_of(interface) if interface else 0
        except OSError:
            return 0

    def _name_now(self, device: str) -> str:
        """What the interface that a device polls is called, if it is there."""
        try:
            return self._name_of(self._indices[device])
        except (KeyError, OSError):
            return ""

    def note(self, devices: Iterable[str]) -> None:
        """These were attached just now, to whatever interface lies below them."""
        for device in devices:
            self._indices[device] = self.index(device)
            if not self._indices[device]:
                del self._indices[device]
        self.renamed = {device: name for device, name in self.renamed.items() if device not in set(devices)}

    def same(self, device: str, polled: Iterable[str]) -> str:
        """The one of the polled devices that has the interface of this one, by whatever name; empty: none."""
        index = self.index(device)
        return next((other for other in polled if index and self._indices.get(other) == index), "")

    def carrier(self, device: str) -> bool | None:
        """As `carrier`, of whatever the interface is called now."""
        return carrier(device, self.renamed.get(device))


class LinkNews:
    """Tells at once that some interface has changed, not which: the kernel's link group (rtnetlink(7))."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
        self._socket.bind((0, _LINK_GROUP))

    def fileno(self) -> int:
        """Readable when there are news."""
        return self._socket.fileno()

    def take(self) -> None:
        """Reads what is there. That the kernel had to leave some out (ENOBUFS) is news, too."""
        while True:
            try:
                self._socket.recv(_NEWS_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise

    def close(self) -> None:
        self._socket.close()
