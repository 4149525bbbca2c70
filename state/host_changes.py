"""What a host was before vio4wd changed it, and is to be again: its hugepages, their mounts, what VFs were bound to.

Pages and mounts go with the host's power, so what was written down of them before its last start counts no more.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from schema.system.typed_json import decoded
from state.record import readable, typed
from state.store import Store

# ---- hugepages and their mounts --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reserved:
    """The pages of one size, by NUMA node."""

    size: str
    found: tuple[int, ...]
    """How many there were when vio4wd came."""
    kept: tuple[int, ...]
    """How many it left at most: who finds more knows that somebody else has reserved them since."""


def remember_pages(store: Store, boot_id: str, reserved: Reserved) -> None:
    row = (reserved.size, json.dumps(reserved.found), json.dumps(reserved.kept), boot_id)
    store.run(lambda connection: connection.execute("INSERT OR REPLACE INTO reserved VALUES (?, ?, ?, ?)", row))


def forget_pages(store: Store, size: str) -> None:
    store.run(lambda connection: connection.execute("DELETE FROM reserved WHERE size = ?", (size,)))


def reserved_pages(store: Store, boot_id: str) -> dict[str, Reserved]:
    """By size, since the host's last start."""
    rows = readable(store, "reserved", "size, found, kept", _reserved, "WHERE boot_id = ?", (boot_id,))
    return {each.size: each for each in rows}


def _reserved(size: str, found: str, kept: str) -> Reserved:
    typed(str)(size)
    return Reserved(size, _numbers(found), _numbers(kept))


def _numbers(text: str) -> tuple[int, ...]:
    return decoded(tuple[int, ...], json.loads(text))


def remember_mount(store: Store, boot_id: str, path: str, made: str) -> None:
    """`made` is the uppermost directory that was made for it; empty: it was there."""
    row = (path, made, boot_id)
    store.run(lambda connection: connection.execute("INSERT OR REPLACE INTO mounted VALUES (?, ?, ?)", row))


def forget_mount(store: Store, path: str) -> None:
    store.run(lambda connection: connection.execute("DELETE FROM mounted WHERE path = ?", (path,)))


def made_mounts(store: Store, boot_id: str) -> dict[str, str]:
    """Path to what was made for it, since the host's last start."""
    rows = readable(store, "mounted", "path, made", typed(str, str), "WHERE boot_id = ? ORDER BY path", (boot_id,))
    return dict(rows)


# ---- PCI functions ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Binding:
    """A PCI function's former driver and driver_override; empty: none."""

    address: str
    driver: str
    override: str


def remember_binding(store: Store, binding: Binding) -> None:
    """Writes it down, unless the function is known already: then what it was first is what counts."""
    row = (binding.address, binding.driver, binding.override)
    store.run(lambda connection: connection.execute("INSERT OR IGNORE INTO binding VALUES (?, ?, ?)", row))


def forget_binding(store: Store, address: str) -> None:
    store.run(lambda connection: connection.execute("DELETE FROM binding WHERE address = ?", (address,)))


def bindings(store: Store) -> dict[str, Binding]:
    """By address."""
    rows = readable(store, "binding", "address, driver, override", typed(str, str, str), "ORDER BY address")
    return {row[0]: Binding(*row) for row in rows}


# ---- network devices: a VF's own is gone once the VF is bound --------------------------------------------------------


def remember_netdev(store: Store, netdev: str, vf: str, index: int) -> None:
    """`vf` as a spec names it; `index` among the VFs of its PF."""
    row = (netdev, vf, index)
    store.run(lambda connection: connection.execute("INSERT OR REPLACE INTO netdev VALUES (?, ?, ?)", row))


def remembered_netdevs(store: Store) -> dict[str, tuple[str, int]]:
    """VF and index by network device."""
    rows = readable(store, "netdev", "name, vf, vf_index", typed(str, str, int))
    return {name: (vf, index) for name, vf, index in rows}
