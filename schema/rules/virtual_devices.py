"""DPDK's virtual devices that a spec may name, and which arguments they take.

What a driver does with its arguments is its own business: net_failsafe runs a command, net_pcap writes files, net_ring
takes an address in memory. So a driver may be used only if it is in the table, with the keys that stand there, and each
value has the shape that its key asks for. The arguments are those of DPDK's "Network Interface Controller Drivers".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from schema.model import Port
from schema.nodes import shorten

MAX_INTERFACE_BYTES = 15
"""IFNAMSIZ of linux/if.h without the terminating zero."""


@dataclass(frozen=True, slots=True)
class Value:
    """What an argument may be."""

    words: str
    """After "must be"."""
    holds: Callable[[str], bool]
    path: bool = False
    """Whether it is a path, which has to lie where sockets may."""


Arguments = Mapping[str, Value]
Drivers = Mapping[str, Arguments]


def number(low: int, high: int) -> Value:
    return Value(f"a number from {low} to {high}", lambda text: _is_number(text, low, high))


def word(only: str) -> Value:
    return Value(only, lambda text: text == only)


def _is_number(text: str, low: int, high: int) -> bool:
    return re.fullmatch(r"0|[1-9][0-9]{0,9}", text) is not None and low <= int(text) <= high


def is_interface_name(text: str) -> bool:
    """As the kernel's dev_valid_name has it, in ASCII; without what it would count up (%d)."""
    return re.fullmatch(r"[!-$&-.0-9;-~]{1,15}", text) is not None and text not in (".", "..")


def _matching(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern)
    return lambda text: compiled.fullmatch(text) is not None


def _is_path(text: str) -> bool:
    return re.fullmatch(r"/[\w.+:@/-]{1,106}", text, re.ASCII) is not None and ".." not in text.split("/")


INTERFACE = Value(
    f"the name of a network interface, of up to {MAX_INTERFACE_BYTES} characters without ',', '=', '/', ':', '%'",
    lambda text: is_interface_name(text) and not set("=,[]()") & set(text),
)
FLAG = Value("0 or 1", _matching("[01]"))
MAC = Value("a MAC address, such as 02:00:00:00:00:01", _matching("[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}"))
PATH = Value("an absolute path of letters, digits and . _ - + : @", _is_path, path=True)
TEXT = Value("made of letters, digits and . _ - + : only", _matching(r"[0-9A-Za-z._+:-]{1,64}"))
FIXED_OR_MAC = Value("fixed, or a MAC address", lambda text: text == "fixed" or MAC.holds(text))

KINDS: Mapping[str, Value] = MappingProxyType(
    {"interface": INTERFACE, "number": number(0, 2**32 - 1), "flag": FLAG, "mac": MAC, "path": PATH, "text": TEXT}
)
"""What the host's policy may say of an argument that is not in the table."""

TABLE: Drivers = MappingProxyType(
    {
        "net_af_packet": {
            "iface": INTERFACE,
            "qpairs": number(1, 16),
            # The kernel keeps framecnt frames a queue and direction, which nobody can swap out.
            "blocksz": number(2048, 4 * 2**20),
            "framesz": number(128, 65536),
            "framecnt": number(1, 32768),
            # With 0 the driver waits until tc lets its interface send, and with it every relay of its worker.
            "qdisc_bypass": word("1"),
        },
        # A server's socket is one that only root may connect to. A client trusts whoever made the socket, and whoever
        # is at the other end of a memif can have DPDK read and write outside of the shared memory.
        "net_memif": {
            "id": number(0, 2**32 - 1),
            "role": word("server"),
            "socket": PATH,
            "socket-abstract": word("no"),
            "bsize": number(64, 65535),
            "rsize": number(1, 14),
            "mac": MAC,
            "secret": Value("up to 24 letters and digits", _matching("[0-9A-Za-z]{1,24}")),
        },
        # Frames larger than a buffer are not checked for: what lies behind the buffer would go to the guest.
        "net_null": {"size": number(60, 2048), "copy": FLAG, "no-rx": FLAG},
        "net_ring": {},
        # remote= lays rules on another interface, which take its traffic away.
        "net_tap": {"iface": INTERFACE, "mac": FIXED_OR_MAC},
    }
)

REQUIRED: Mapping[str, tuple[str, ...]] = MappingProxyType({"net_memif": ("role", "socket", "socket-abstract")})
"""Where DPDK's own default is not what the table allows."""


def driver_of(name: str) -> str:
    """The driver of a virtual device by its name: `net_tap` of `net_tap12`. DPDK takes the first one that the name
    begins with, so that only a name that is a driver and a number says what comes."""
    return name.rstrip("0123456789")


def is_virtual(port: Port) -> bool:
    """Whether it is made by its name alone."""
    return port.name.startswith("net_")


def refusal(port: Port, beyond: Drivers) -> str:
    """Why this virtual device is not allowed, as a sentence without its end; empty: it is. `beyond` is what is allowed
    beside the table."""
    driver = driver_of(port.name)
    allowed = arguments(driver, beyond)
    if allowed is None:
        drivers = ", ".join(sorted({*TABLE, *beyond}))
        return f"{shorten(driver)} is no driver that a spec may name; allowed are {drivers}"
    given: dict[str, str] = {}
    for part in port.args.split(",") if port.args else ():
        key, equals, value = part.partition("=")
        if key not in allowed:
            takes = f"allowed are {', '.join(sorted(allowed))}" if allowed else "it takes none"
            return f"{driver} has no argument '{shorten(key)}' that a spec may give; {takes}"
        if key in given:
            return f"the argument {key} stands twice; remove one of them"
        if not equals or not allowed[key].holds(value):
            return f"the argument {key} must be {allowed[key].words}, not '{shorten(value)}'"
        given[key] = value
    for key in REQUIRED.get(driver, ()):
        if key not in given and driver not in beyond:
            return f"{driver} needs the argument {key}, which must be {allowed[key].words}; add it"
    return ""


def arguments(driver: str, beyond: Drivers) -> Arguments | None:
    """What this driver may be given; None: it may not be used."""
    if driver not in TABLE and driver not in beyond:
        return None
    return {**TABLE.get(driver, {}), **beyond.get(driver, {})}


def paths(port: Port, beyond: Drivers) -> Iterator[str]:
    """Of files that an allowed device has to do with."""
    allowed = arguments(driver_of(port.name), beyond) or {}
    for part in port.args.split(",") if port.args else ():
        key, _, value = part.partition("=")
        if key in allowed and allowed[key].path:
            yield value
