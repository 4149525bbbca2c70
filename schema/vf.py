"""What DPDK polls, as it is written: a PCI address, or a virtual device's name and arguments."""

from __future__ import annotations

import re

from schema.model import Port

MAX_NAME_BYTES = 63
"""RTE_DEV_NAME_MAX_LEN of DPDK, without the terminating zero."""

_INTERFACES = frozenset({"iface", "remote", "rx_iface", "rx_iface_in", "tx_iface"})
"""Arguments of DPDK's drivers that name a network interface."""
_MEMIF = ("0", "/run/memif.sock")
"""What a memif's id and socket are when they are not given (DPDK's net_memif)."""
_PCI = re.compile(r"(?:([0-9a-fA-F]{4,8}):)?([0-9a-fA-F]{2}):([0-9a-fA-F]{2})\.([0-9a-fA-F]+)")
_LOOKS_PCI = re.compile(r"[0-9a-fA-F:]*:[0-9a-fA-F:.]*")
_NAME = re.compile(r"net_[a-z_]+[0-9]+")
_BOND = re.compile(r"net_bonding[0-9A-Za-z_-]*")


def parse_vf(text: str) -> Port:
    """The port that `text` names: `0000:05:08.1` (domain optional, any case), or `net_af_packet0,iface=veth1`.

    Raises ValueError with a sentence that says what is wrong and what to write.
    """
    if any(not character.isprintable() or character.isspace() for character in text):
        raise ValueError("must not hold spaces or control characters; remove them")
    if text.startswith("net_"):
        return _virtual_device(text)
    pci = _PCI.fullmatch(text)
    if pci is not None:
        return Port(_pci_address(*pci.groups()))
    if _LOOKS_PCI.fullmatch(text):
        raise ValueError(f"{_quote(text)} is no PCI address; write it as lspci -D prints it, such as 0000:05:08.1")
    raise ValueError(
        f"{_quote(text)} is neither a PCI address, such as 0000:05:08.1, "
        "nor a DPDK virtual device, such as net_af_packet0,iface=veth1"
    )


def is_pci(port: Port) -> bool:
    """Whether it is a PCI function, not a virtual device."""
    return _LOOKS_PCI.fullmatch(port.name) is not None


def below(port: Port) -> tuple[str, ...]:
    """What a virtual device has below it that no other may use too, as people name it. The name of the device does not
    tell: several devices, of several drivers, may be given one interface."""
    given = [part.partition("=")[::2] for part in port.args.split(",")]
    if port.name.startswith("net_memif"):
        named = dict(given)
        return (f"memif {named.get('id', _MEMIF[0])} on {named.get('socket', _MEMIF[1])}",)
    return tuple(sorted({f"interface {value}" for key, value in given if key in _INTERFACES and value}))


def is_address(text: str) -> bool:
    """Whether it is a PCI address in its canonical form."""
    found = _PCI.fullmatch(text)
    return found is not None and found[1] is not None


def is_bond_name(text: str) -> bool:
    """Whether DPDK makes a bond of it, and nothing else."""
    return _BOND.fullmatch(text) is not None


def devices(port: Port) -> tuple[Port, ...]:
    """What DPDK attaches for it: itself, or a bond's members."""
    return tuple(map(parse_vf, port.members)) if port.bond_mode or port.members else (port,)


def device_names(port: Port) -> frozenset[str]:
    """The devices that only this port can have."""
    return frozenset(device.name for device in devices(port))


def pci_functions(port: Port) -> tuple[str, ...]:
    """The addresses of the PCI functions that it is, or has as members."""
    return tuple(device.name for device in devices(port) if is_pci(device))


def only_pci(port: Port) -> bool:
    """Whether all that it is, or has as members, are PCI functions."""
    return len(pci_functions(port)) == max(1, len(port.members))


def _pci_address(domain: str | None, bus: str, slot: str, function: str) -> str:
    if int(slot, 16) > 0x1F:
        raise ValueError(f"slot {slot} of the PCI address is too high; slots run from 00 to 1f")
    if len(function) > 1 or int(function, 16) > 7:
        raise ValueError(f"function {_shorten(function)} of the PCI address is too high; functions run from 0 to 7")
    return f"{int(domain or '0', 16):04x}:{bus}:{slot}.{function}".lower()


def _virtual_device(text: str) -> Port:
    name, comma, args = text.partition(",")
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{_quote(name)} is no name of a DPDK virtual device; "
            "write net_, the driver in lower case and a number, such as net_af_packet0"
        )
    if len(name) > MAX_NAME_BYTES:
        raise ValueError(f"the name {_quote(name)} has {len(name)} characters; DPDK takes up to {MAX_NAME_BYTES}")
    if comma and not args:
        raise ValueError(f"nothing follows the comma after {name}; write its arguments or drop the comma")
    return Port(name, args)


def _shorten(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."


def _quote(text: str) -> str:
    return f"'{_shorten(text)}'"
