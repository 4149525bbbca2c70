"""NUMA: on which node memory lies. A host with one node has nothing to tell apart, so nothing is asked there."""

from __future__ import annotations

import ctypes
from pathlib import Path

NODES = Path("/sys/devices/system/node")
_MPOL_F_NODE, _MPOL_F_ADDR = 1, 2
"""get_mempolicy: give the node, of the page at the address."""


def several_nodes() -> bool:
    """Whether this host has more than one NUMA node."""
    return len(list(NODES.glob("node[0-9]*"))) > 1


class Numa:
    """Asks the kernel, through the libnuma that DPDK is built with. Any address may be asked for."""

    def __init__(self) -> None:
        self.several = several_nodes()
        self._get = self._function() if self.several else None

    @staticmethod
    def _function() -> ctypes._NamedFuncPointer | None:
        try:
            found = ctypes.CDLL("libnuma.so.1").get_mempolicy
        except (OSError, AttributeError):
            return None
        void, long = ctypes.c_void_p, ctypes.c_ulong
        found.restype, found.argtypes = ctypes.c_long, [void, void, long, void, long]
        return found

    def node_of(self, address: int) -> int | None:
        """The node on which the page at an address lies; None where nothing lies, or there is only one node."""
        node = ctypes.c_int(-1)
        flags = _MPOL_F_NODE | _MPOL_F_ADDR
        if not self._get or not address or self._get(ctypes.byref(node), None, 0, address, flags) != 0:
            return None
        return node.value
