"""Finds the installed DPDK and loads its libraries, for ctypes and for compiled code alike."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from typing import Any

from engine.dpdk import layout
from engine.dpdk.layout import Layout

_LIBRARIES = ("kvargs", "telemetry", "eal", "ring", "mempool", "mbuf", "ethdev", "vhost")
"""In the order in which they need each other."""


class DpdkError(RuntimeError):
    """A DPDK call failed. `code` is a positive errno, `call` the function's name."""

    def __init__(self, call: str, code: int) -> None:
        self.code = abs(code)
        self.call = call.partition("(")[0].partition(" ")[0]
        super().__init__(f"{call} failed: {os.strerror(self.code)} ({self.code})")


class DpdkMissingError(RuntimeError):
    """No DPDK that vio4wd knows is installed."""


@dataclass(frozen=True, slots=True)
class Dpdk:
    """The loaded libraries and the layout of the release they are of."""

    layout: Layout
    version: str
    eal: ctypes.CDLL
    mempool: ctypes.CDLL
    mbuf: ctypes.CDLL
    ethdev: ctypes.CDLL
    vhost: ctypes.CDLL
    paths: tuple[str, ...]
    """What compiled code must load before it is built: llvmlite resolves symbols from them."""


def load() -> Dpdk:
    """Loads the newest installed release whose layout is known. Raises DpdkMissingError or UnknownReleaseError."""
    for candidate in reversed(layout.LAYOUTS):
        try:
            return _load(candidate)
        except OSError:
            continue
    known = ", ".join(f"{each.release} (librte_eal.so.{each.abi})" for each in layout.LAYOUTS)
    raise DpdkMissingError(f"no DPDK found; vio4wd runs on {known}: on Debian 12, apt-get install dpdk")


def _load(candidate: Layout) -> Dpdk:
    paths = tuple(f"librte_{name}.so.{candidate.abi}" for name in _LIBRARIES)
    loaded = {name: ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL) for name, path in zip(_LIBRARIES, paths, strict=True)}
    version = function(loaded["eal"], "rte_version", ctypes.c_char_p)()
    assert isinstance(version, bytes)
    return Dpdk(
        layout=layout.for_version(version.decode()),
        version=version.decode().removeprefix("DPDK "),
        paths=paths,
        **{name: loaded[name] for name in ("eal", "mempool", "mbuf", "ethdev", "vhost")},
    )


def function(library: ctypes.CDLL, name: str, result: Any = ctypes.c_int, *arguments: Any) -> Any:
    """The C function `name` with its types declared; ctypes would else cut pointers to 32 bits."""
    found = getattr(library, name)
    found.restype = result
    found.argtypes = list(arguments)
    return found


def check(call: str, result: int) -> int:
    """`result` if it is not negative. Raises DpdkError for a negative errno."""
    if result < 0:
        raise DpdkError(call, result)
    return result


def rte_errno(dpdk: Dpdk) -> int:
    """The calling thread's rte_errno; it is thread-local, so its address is asked for each time."""
    return ctypes.c_int.in_dll(dpdk.eal, "per_lcore__rte_errno").value
