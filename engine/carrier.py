"""The carrier of network interfaces, for drivers that do not say whether they have one."""

from __future__ import annotations

import errno
import socket
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
    name, *arguments = device.split(",")
    interface = next((each.removeprefix("iface=") for each in arguments if each.startswith("iface=")), None)
    if interface is None or not name.startswith(_SILENT):
        return None
    try:
        return (_NETWORK / interface / "carrier").read_text().strip() == "1"
    except OSError:
        return False


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
