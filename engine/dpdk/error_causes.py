"""Why DPDK did not do something, in words: what is wrong, and what to do.

DPDK gives a number, and for much that goes wrong only -1, as which EPERM is written, too. So what can be seen from
outside is looked at first (`SEEN`), then the number is looked up by the function that gave it (`GIVEN`).
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from engine.dpdk.library import DpdkError

LOG = "the engine's log says more"
NET_ADMIN, NET_RAW = 12, 13
"""Bits of linux/capability.h."""
POLL_INTERFACES = frozenset({"net_af_packet", "net_af_xdp"})
"""Drivers that are given an interface of the kernel's with iface=, which has to be there."""
_NETWORK = Path("/sys/class/net")
_TUN = Path("/dev/net/tun")


@dataclass(frozen=True, slots=True)
class Why:
    """`code` is one of docs/engine-api.md's."""

    code: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Device:
    """What was to be attached: a PCI address, or a virtual device with its arguments."""

    text: str

    @property
    def name(self) -> str:
        return self.text.partition(",")[0]

    @property
    def pci(self) -> bool:
        return ":" in self.name

    @property
    def driver(self) -> str:
        return self.name.rstrip("0123456789")

    @property
    def interface(self) -> str:
        """That it polls or makes; empty: none is given."""
        given = dict(part.partition("=")[::2] for part in self.text.split(",")[1:])
        return given.get("iface", "")

    @property
    def paths(self) -> list[Path]:
        """Files that it was given."""
        values = (part.partition("=")[2] for part in self.text.split(",")[1:])
        return [Path(value) for value in values if value.startswith("/")]


Look = Callable[[Device], Why | None]


def why(error: DpdkError, device: str = "") -> Why:
    """What is to be said of a failed call; `device` where one was to be attached, with its arguments."""
    known = Device(device)
    call = error.call
    if call == "rte_dev_probe" and device:
        for look in SEEN:
            found = look(known)
            if found is not None:
                return found
        call = "rte_dev_probe of a PCI function" if known.pci else "rte_dev_probe of a virtual device"
    found = GIVEN.get((call, error.code)) or GIVEN.get((call, ANY)) or GIVEN.get(("", error.code)) or UNKNOWN
    words = found.sentence.format(driver=known.driver)
    return Why(found.code, f"{words} ({error.call} gave {error.code}, {_named(error.code)})")


def _named(code: int) -> str:
    return "which says no more" if code == 1 else os.strerror(code)


# ---- what is seen from outside ---------------------------------------------------------------------------------------


def _driver_has_interface(device: Device) -> Why | None:
    if device.driver in POLL_INTERFACES and not device.interface:
        message = f"{device.driver} polls a network interface: name it, as in {device.name},iface=eth1"
        return Why("bad-request", message)
    return None


def _interface_is_there(device: Device) -> Why | None:
    if device.driver in POLL_INTERFACES and not (_NETWORK / device.interface).exists():
        message = f"this host has no network interface {device.interface}; it is used as soon as it appears"
        return Why("failed", f"{message}. Check its name with: ip link")
    return None


def _tap_is_free(device: Device) -> Why | None:
    if device.driver != "net_tap":
        return None
    if not _TUN.exists():
        return Why("no-device", f"{_TUN} is missing, through which tap devices are made: load tun (modprobe tun)")
    place = _NETWORK / device.interface
    if device.interface and place.exists() and not (place / "tun_flags").exists():
        message = f"the network interface {device.interface} exists already and is no tap device"
        return Why("exists", f"{message}: give net_tap a name that is free, or poll the interface with net_af_packet")
    return None


def _may(device: Device) -> Why | None:
    bits = {"net_af_packet": ("CAP_NET_RAW", NET_RAW), "net_tap": ("CAP_NET_ADMIN", NET_ADMIN)}
    if device.driver in bits and not _capable(bits[device.driver][1]):
        name = bits[device.driver][0]
        return Why(
            "failed", f"{device.driver} needs {name}, which the engine does not have: run it as root, or grant it"
        )
    return None


def _capable(bit: int) -> bool:
    """Where the kernel does not tell, it is taken to be so."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return bool(int(status.split("CapEff:")[1].split()[0], 16) >> bit & 1)
    return True


def _directories_are_there(device: Device) -> Why | None:
    for path in device.paths:
        if not path.parent.is_dir():
            return Why("failed", f"the directory {path.parent} of {path} is not there: make it, or name another path")
    return None


def _vfio_is_open(device: Device) -> Why | None:
    if not device.pci:
        return None
    link = Path("/sys/bus/pci/devices", device.name, "iommu_group")
    group = os.path.basename(os.readlink(link)) if link.is_symlink() else ""
    nodes = [Path("/dev/vfio/vfio"), *([Path("/dev/vfio", group)] if group else [])]
    for node in nodes:
        if node.exists() and not os.access(node, os.R_OK | os.W_OK):
            return Why("failed", f"{node} may not be opened by the engine: run it as root, or give it access")
    return None


SEEN: tuple[Look, ...] = (
    _driver_has_interface,
    _interface_is_there,
    _tap_is_free,
    _directories_are_there,
    _vfio_is_open,
    _may,
)
"""Each gives what it sees to be wrong."""

# ---- what DPDK's numbers mean ----------------------------------------------------------------------------------------

ANY = 0
UNKNOWN = Why("failed", f"DPDK refused; {LOG}")
_NO_DRIVER = Why(
    "no-device",
    "no driver of this DPDK takes it: check with lspci -D that it is a network device, and which driver the kernel has "
    "bound to it",
)
_PROBE_PCI, _PROBE = "rte_dev_probe of a PCI function", "rte_dev_probe of a virtual device"
_ARGUMENTS = f"the driver {{driver}} did not take it as it stands: check its arguments; {LOG}"
_BUFFERS = "the device takes no queue like this: write another number of descriptors, or another mtu"
_MEMBER = f"its driver lacks what bonding needs, or its link is unlike that of the others: take another device; {LOG}"
_MEMORY = "there is not enough memory for it: reserve more hugepages, or have fewer relays, queues or descriptors"

GIVEN: Mapping[tuple[str, int], Why] = MappingProxyType(
    {
        (_PROBE_PCI, errno.ENODEV): _NO_DRIVER,
        (_PROBE_PCI, errno.ENOTSUP): _NO_DRIVER,
        (_PROBE_PCI, errno.EBUSY): Why(
            "in-use",
            "another process has it, or another function of its IOMMU group: a guest that it is passed through to, or "
            "another program with DPDK; end that first",
        ),
        (_PROBE_PCI, ANY): Why(
            "failed",
            f"its driver could not use it: it may be in use by another process, or need engine.vfio_vf_token; {LOG}",
        ),
        # rte_devargs_parse: no bus knows a driver of this name
        (_PROBE, errno.EFAULT): Why(
            "unsupported",
            "this DPDK has no driver {driver}: check the name, or install the driver (librte_{driver}.so)",
        ),
        (_PROBE, errno.ENODEV): Why("no-device", "the driver {driver} makes no port of it: name another device"),
        (_PROBE, errno.EINVAL): Why("failed", _ARGUMENTS),
        (_PROBE, errno.EPERM): Why("failed", _ARGUMENTS),
        ("rte_eth_dev_configure", errno.EINVAL): Why(
            "failed", f"the device does not take so many queues, or such an mtu: write less in its relay; {LOG}"
        ),
        ("rte_eth_dev_adjust_nb_rx_tx_desc", ANY): Why("failed", _BUFFERS),
        ("rte_eth_rx_queue_setup", errno.EINVAL): Why("failed", _BUFFERS),
        ("rte_eth_tx_queue_setup", errno.EINVAL): Why("failed", _BUFFERS),
        ("rte_eth_dev_start", ANY): Why(
            "failed", f"the device did not start, for reasons of its driver, its firmware or its PF; {LOG}"
        ),
        ("rte_dev_remove", ANY): Why("failed", f"its driver did not release it; {LOG}. A restart of the engine does"),
        ("rte_eth_bond_create", errno.EINVAL): Why("failed", f"DPDK makes no bond of this name or mode; {LOG}"),
        ("rte_eth_bond_member_add", errno.EINVAL): Why("failed", _MEMBER),
        ("rte_vhost_driver_register", ANY): Why(
            "socket", f"DPDK cannot have one more socket; {LOG}. A restart of the engine helps if it has had very many"
        ),
        ("rte_vhost_driver_start", ANY): Why(
            "socket", f"nobody can be listened for at it: check the directory, and that nothing lies there; {LOG}"
        ),
        ("rte_eal_init", errno.EACCES): Why("failed", "the engine may not use what DPDK needs: run it as root"),
        ("rte_eal_init", errno.EPERM): Why("failed", f"DPDK did not start: is the engine run as root? {LOG}"),
        ("rte_eal_init", errno.ENOMEM): Why("no-memory", f"there is no memory for DPDK: reserve hugepages; {LOG}"),
        ("rte_eal_init", errno.EINVAL): Why("failed", f"DPDK takes no such parameters (engine in the spec); {LOG}"),
        ("rte_eal_init", ANY): Why("failed", f"DPDK did not start; {LOG}"),
        ("", errno.ENOMEM): Why("no-memory", _MEMORY),
        ("", errno.ENOSPC): Why("limit", "this DPDK has no more room for it: use fewer ports"),
        ("", errno.ENODEV): Why("no-device", "the device is gone; it is used again when it is back"),
        ("", errno.EIO): Why("no-device", "the device has been taken away, or does not answer any more"),
        ("", errno.EBUSY): Why("in-use", "somebody else has it; end that first"),
        ("", errno.EACCES): Why("failed", "the engine may not use it: run it as root, or give it access"),
        ("", errno.EEXIST): Why("exists", "there is one of this name already"),
        ("", errno.EINVAL): Why("failed", f"DPDK does not take it like this; {LOG}"),
        ("", errno.ENOTSUP): Why("failed", f"its driver cannot do this; {LOG}"),
    }
)
"""By the function and its negative result or rte_errno, as DPDK's documentation of each has them. An empty name is
every function, ANY every other number."""
