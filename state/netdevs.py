"""Which VFs network devices stood for when they were last seen: a VF's own is gone once the VF is bound to vfio-pci."""

from __future__ import annotations

from state.shape import readable, typed
from state.store import Store


def remember(store: Store, netdev: str, vf: str, index: int) -> None:
    """`vf` as a spec names it; `index` among the VFs of its PF."""
    row = (netdev, vf, index)
    store.run(lambda connection: connection.execute("INSERT OR REPLACE INTO netdev VALUES (?, ?, ?)", row))


def remembered(store: Store) -> dict[str, tuple[str, int]]:
    """VF and index by network device."""
    rows = readable(store, "netdev", "name, vf, vf_index", typed(str, str, int))
    return {name: (vf, index) for name, vf, index in rows}
