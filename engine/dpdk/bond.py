"""DPDK's bonding PMD: several ports that act as one.

Bonding says success where it did nothing (`rte_eth_bond_free` with members) and keeps an alarm for a while after it was
set up; what has to come first is said with each call.
"""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from engine.dpdk.layout import MAX_ETHPORTS
from engine.dpdk.library import Dpdk, check, function

MODES: Mapping[str, int] = MappingProxyType(
    {"round-robin": 0, "active-backup": 1, "balance": 2, "broadcast": 3, "802.3ad": 4, "tlb": 5, "alb": 6}
)
"""rte_eth_bond.h's BONDING_MODE_*."""
XMIT_POLICY_LAYER34 = 2
MONITORING_MS = 20
"""How often DPDK looks at members that report no link changes by themselves. Its alarm outlives a bond that was never
started by this long."""
_COLLECTING_DISTRIBUTING = 0x30
"""Bits of an 802.3ad state (IEEE 802.1AX): both must stand for the member to carry traffic."""


class BondLibrary:
    """librte_net_bond, by port id. Raises OSError when it is not installed."""

    def __init__(self, dpdk: Dpdk) -> None:
        u16, u8, void, int_ = ctypes.c_uint16, ctypes.c_uint8, ctypes.c_void_p, ctypes.c_int
        library = ctypes.CDLL(f"librte_net_bond.so.{dpdk.layout.abi}")
        self._info = dpdk.layout.bond_info
        self.tsc_hz: int = function(dpdk.eal, "rte_get_tsc_hz", ctypes.c_uint64)()
        self._create = function(library, "rte_eth_bond_create", int_, ctypes.c_char_p, u8, u8)
        self._free = function(library, "rte_eth_bond_free", int_, ctypes.c_char_p)
        self._add = _renamed(library, "rte_eth_bond_{}_add", int_, u16, u16)
        self._remove = _renamed(library, "rte_eth_bond_{}_remove", int_, u16, u16)
        self._active = _renamed(library, "rte_eth_bond_active_{}s_get", int_, u16, void, u16)
        self._info_8023ad = _renamed(library, "rte_eth_bond_8023ad_{}_info", int_, u16, u16, void)
        self._monitoring = function(library, "rte_eth_bond_link_monitoring_set", int_, u16, ctypes.c_uint32)
        self._policy = function(library, "rte_eth_bond_xmit_policy_set", int_, u16, u8)
        self._set_primary = function(library, "rte_eth_bond_primary_set", int_, u16, u16)
        self._primary = function(library, "rte_eth_bond_primary_get", int_, u16)
        self._lookup = function(dpdk.mempool, "rte_mempool_lookup", void, ctypes.c_char_p)
        self._free_pool = function(dpdk.mempool, "rte_mempool_free", None, void)
        self._set_mac = function(library, "rte_eth_bond_mac_address_set", int_, u16, void)

    def create(self, name: str, mode: int, numa_node: int) -> int:
        """Makes a bond without members: its port id. The name must be of no attached port. Raises DpdkError."""
        return check(f"rte_eth_bond_create({name})", self._create(name.encode(), mode, max(numa_node, 0)))

    def free(self, name: str) -> None:
        """Ends a bond that has no members any more. Raises DpdkError."""
        check(f"rte_eth_bond_free({name})", self._free(name.encode()))
        # 22.11 leaves the pool of an alb bond behind, and then makes none of this name a second time.
        left = self._lookup(f"{name}_ALB".encode())
        if left:
            self._free_pool(left)

    def add(self, bond: int, member: int) -> None:
        """Adds an attached port; a started bond starts it. Raises DpdkError."""
        _check("rte_eth_bond_member_add", self._add(bond, member))

    def remove(self, bond: int, member: int) -> None:
        """Takes a member out; no lcore may poll the bond. The member goes on running. Raises DpdkError."""
        _check("rte_eth_bond_member_remove", self._remove(bond, member))

    def set_monitoring(self, bond: int) -> None:
        """Raises DpdkError."""
        _check("rte_eth_bond_link_monitoring_set", self._monitoring(bond, MONITORING_MS))

    def set_policy(self, bond: int) -> None:
        """Spreads by addresses and ports, where the mode spreads by flow. Raises DpdkError."""
        _check("rte_eth_bond_xmit_policy_set", self._policy(bond, XMIT_POLICY_LAYER34))

    def set_primary(self, bond: int, member: int) -> None:
        """Makes a member the one that is used, or preferred. Safe while the bond is polled. Raises DpdkError."""
        _check("rte_eth_bond_primary_set", self._set_primary(bond, member))

    def primary(self, bond: int) -> int:
        """The port id of the member in use, or preferred; negative without members."""
        found: int = self._primary(bond)
        return found

    def set_mac(self, bond: int, mac: bytes) -> bool:
        """Gives the bond, and with it the member in use, a MAC address: whether they took it."""
        result: int = self._set_mac(bond, ctypes.create_string_buffer(mac, 6))
        return result == 0

    def active(self, bond: int) -> frozenset[int]:
        """The members that DPDK holds to be usable, by port id."""
        found = (ctypes.c_uint16 * MAX_ETHPORTS)()
        count = self._active(bond, found, MAX_ETHPORTS)
        return frozenset(found[: max(count, 0)])

    def aggregates(self, bond: int, member: int) -> bool:
        """Whether an 802.3ad member and its partner have agreed to carry traffic."""
        at = self._info
        raw = ctypes.create_string_buffer(at.size)
        known = self._info_8023ad(bond, member, raw) == 0
        return known and raw.raw[at.actor_state] & _COLLECTING_DISTRIBUTING == _COLLECTING_DISTRIBUTING


def _renamed(library: ctypes.CDLL, pattern: str, result: Any, *arguments: Any) -> Any:
    """A function whose `{}` is `member` since DPDK 23.11, and `slave` before."""
    try:
        return function(library, pattern.format("member"), result, *arguments)
    except AttributeError:
        return function(library, pattern.format("slave"), result, *arguments)


def _check(call: str, result: int) -> None:
    """As `check`; bonding answers -1 for whatever it does not like, which as an errno (EPERM) would mislead."""
    check(call, -errno.EINVAL if result == -1 else result)
