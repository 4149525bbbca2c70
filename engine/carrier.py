"""The carrier of a network interface, for drivers that do not say whether they have one."""

from __future__ import annotations

from pathlib import Path

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
