"""The network interfaces below virtual devices, for drivers that do not say what has become of them."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from pathlib import Path

_LINK_GROUP = 1
"""RTMGRP_LINK of linux/rtnetlink.h."""
_NEWS_BYTES = 65_536
_NETWORK = Path("/sys/class/net")
_SILENT = ("net_af_packet", "net_tap")
"""net_af_packet of 22.11 says that its link is up whatever happens, net_tap tells nobody when it changes."""


def carrier(device: str) -> bool | None:
    """Whether the kernel interface below a virtual device has a carrier; None for devices that can be asked.

    `device` is a virtual device with its arguments. An interface that is down or gone has none.
    """
    interface = interface_of(device)
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
    device goes on polling what is no longer there."""

    def __init__(self, network: Path = _NETWORK) -> None:
        self._network = network
        self._indices: dict[str, str] = {}

    def gone(self, devices: Iterable[str]) -> list[str]:
        """Those of the attached devices, each with its arguments, whose interface is another one or none. What is not
        named is forgotten."""
        now = {device: self._index(interface) for device in devices if (interface := interface_of(device))}
        gone = [device for device, index in now.items() if not index or index != self._indices.get(device, index)]
        self._indices = {device: index for device, index in now.items() if device not in gone}
        return gone

    def forget(self, devices: Iterable[str]) -> None:
        """These are attached anew, to whatever interface lies below them now."""
        for device in devices:
            self._indices.pop(device, None)

    def _index(self, interface: str) -> str:
        try:
            return (self._network / interface / "ifindex").read_text()
        except OSError:
            return ""


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
