"""Which VF a network device stands for, for those who name network devices and not VFs.

Three ways, in this order: a representor says so itself (phys_port_name `pf0vf3` on a phys_switch_id); Netronome's NICs
tell by the bus-info of `ethtool -i` (`NFP 0 VF0.3 0000:05:08.3`); a VF's own interface is found among its PF's VFs.

Sources: the kernel's Documentation/ABI/testing/sysfs-class-net and sysfs-bus-pci, linux/ethtool.h, and
Documentation/networking/devlink/devlink-port.rst for the names of ports.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
import struct
from collections.abc import Callable, Iterator
from ctypes import addressof, create_string_buffer
from dataclasses import dataclass
from pathlib import Path

from schema.model import MAX_RELAYS
from schema.paths import sys_dir
from schema.vf import parse_vf
from state.host_changes import remember_netdev, remembered_netdevs
from state.store import Store

REPRESENTOR = re.compile(r"(?:c(?P<controller>\d+))?pf(?P<pf>\d+)vf(?P<vf>\d+)")
NETRONOME = re.compile(r"\bVF\d+\.(?P<vf>\d+)\s+(?P<address>[0-9a-fA-F:.]+)")
NAME_BYTES = 16
"""IFNAMSIZ, with the terminating zero."""
SIOCETHTOOL, ETHTOOL_GDRVINFO = 0x8946, 3
DRVINFO_BYTES, BUS_INFO, BUS_INFO_BYTES = 196, 100, 32
"""struct ethtool_drvinfo, and its field bus_info."""


class NotAVf(Exception):  # noqa: N818 - an answer
    """No VF can be told of a network device now; the sentence says why, and what to do."""


class NoNetdev(NotAVf):
    """There is none of that name, and there was none."""


@dataclass(frozen=True, slots=True)
class NetdevVf:
    """A VF as a network device told of it."""

    netdev: str
    vf: str
    """As a spec's `vf` names it."""
    index: int
    """Among the VFs of its PF, which is the id of its relay."""


class Netdevs:
    """The network devices of this host, and what those that are gone have told. Belongs to the thread of its store."""

    def __init__(self, store: Store, root: Path | None = None, bus_info: Callable[[str], str] | None = None) -> None:
        """`root` is another than /sys in tests; `bus_info` gives that of `ethtool -i`, empty where there is none."""
        self._store = store
        self._net = (root or sys_dir()) / "class/net"
        self._bus_info = bus_info or ethtool_bus_info

    def find(self, netdev: str) -> NetdevVf:
        """What it stands for now; what it stood for if there is none of that name any more. Raises NotAVf."""
        if not _is_name(netdev):
            raise NotAVf(f"{quoted(netdev)} is no name that a network device can have")
        known = self.remembered(netdev)
        if not (self._net / netdev).exists():
            if known is None:
                raise NoNetdev(f"this host has no network device {netdev}; its VF is relayed as soon as it appears")
            return known
        found = self._find(netdev)
        if found.index >= MAX_RELAYS:
            raise NotAVf(f"{netdev} is VF {found.index} of its PF, and relays run from 0 to {MAX_RELAYS - 1}")
        if found != known:
            remember_netdev(self._store, netdev, found.vf, found.index)
        return found

    def remembered(self, netdev: str) -> NetdevVf | None:
        """What it stood for when it was last seen."""
        known = remembered_netdevs(self._store).get(netdev)
        return NetdevVf(netdev, *known) if known is not None else None

    def _find(self, netdev: str) -> NetdevVf:
        reasons = []
        for way in (self._represented, self._told_by_driver, self._own):
            try:
                found = way(netdev)
            except NotAVf as reason:
                reasons.append(str(reason))
                continue
            if found is not None:
                return found
        words = "neither a VF's own interface nor a VF's representor"
        raise NotAVf(reasons[0] if reasons else f"{netdev} is {words}; name one that is")

    # ---- a representor -----------------------------------------------------------------------------------------------

    def _represented(self, netdev: str) -> NetdevVf | None:
        says = REPRESENTOR.fullmatch(_text(self._net / netdev / "phys_port_name"))
        if says is None:
            return None
        if int(says["controller"] or 0):
            raise NotAVf(f"{netdev} stands for a VF of another host ({says[0]}); its VF can't be relayed here")
        index = int(says["vf"])
        own = self._net / netdev / "device"
        if (own / f"virtfn{index}").is_symlink():  # else all network devices are looked at
            return _vf(netdev, own / f"virtfn{index}", index)
        pfs = [pf for pf in self._behind_switch_of(netdev) if (pf / f"virtfn{index}").is_symlink()]
        if len(pfs) > 1:
            # Several PFs behind one switch: the number of a PF's PCI function is the PF's.
            pfs = [pf for pf in pfs if pf.name.endswith(f".{int(says['pf'])}")]
        if not pfs:
            raise NotAVf(f"{netdev} stands for {says[0]}, and of PF {says['pf']} this host has no VF {index}")
        return _vf(netdev, pfs[0] / f"virtfn{index}", index)

    def _behind_switch_of(self, netdev: str) -> list[Path]:
        """The functions behind the network devices of its switch: older kernels don't tell a representor's own."""
        switch = _text(self._net / netdev / "phys_switch_id")
        same = (name for name in _names(self._net) if switch and switch == _text(self._net / name / "phys_switch_id"))
        return list(dict.fromkeys((self._net / name / "device").resolve() for name in same))

    # ---- the driver --------------------------------------------------------------------------------------------------

    def _told_by_driver(self, netdev: str) -> NetdevVf | None:
        says = NETRONOME.search(self._bus_info(netdev))
        return NetdevVf(netdev, _named(netdev, says["address"]), int(says["vf"])) if says is not None else None

    # ---- the interface of the VF itself ------------------------------------------------------------------------------

    def _own(self, netdev: str) -> NetdevVf | None:
        device = self._net / netdev / "device"
        pf = device / "physfn"
        for name in _names(pf):
            link = pf / name
            if re.fullmatch(r"virtfn\d+", name) and link.resolve() == device.resolve():
                return _vf(netdev, link, int(name.removeprefix("virtfn")))
        if any(name.startswith("virtfn") for name in _names(device)):
            raise NotAVf(f"{netdev} is a PF's own interface; name one of its VFs'")
        return None


def ethtool_bus_info(netdev: str) -> str:
    """What `ethtool -i` prints as bus-info; empty where there is none."""
    info = create_string_buffer(struct.pack("=I", ETHTOOL_GDRVINFO), DRVINFO_BYTES)
    request = struct.pack("16sP16x", netdev.encode(), addressof(info))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            fcntl.ioctl(asked, SIOCETHTOOL, request)
        except OSError:
            return ""
    return info.raw[BUS_INFO : BUS_INFO + BUS_INFO_BYTES].split(b"\0")[0].decode(errors="replace")


def _vf(netdev: str, link: Path, index: int) -> NetdevVf:
    """The VF that a PF's link leads to."""
    return NetdevVf(netdev, _named(netdev, os.path.basename(os.readlink(link))), index)


def _named(netdev: str, text: str) -> str:
    """A VF as a spec names it."""
    try:
        port = parse_vf(text)
    except ValueError as error:
        raise NotAVf(f"what {netdev} stands for can't be relayed: {error}") from error
    return f"{port.name},{port.args}" if port.args else port.name


def _is_name(text: str) -> bool:
    """As the kernel's dev_valid_name has it, and nothing that can't be printed."""
    if text in ("", ".", "..") or not text.isprintable() or len(text.encode()) >= NAME_BYTES:
        return False
    return not any(character in "/:" or character.isspace() for character in text)


def quoted(text: str) -> str:
    """What somebody else wrote, in a sentence: cut short, on one line, in quotes."""
    return json.dumps(text if len(text) <= 40 else text[:37] + "...", ensure_ascii=False)


def _names(folder: Path) -> Iterator[str]:
    try:
        yield from sorted(os.listdir(folder))
    except OSError:
        return


def _text(path: Path) -> str:
    """Empty where the kernel has no answer, which it says by an error on reading."""
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""
