"""CPUs that relays were given from outside: by the core scheduler's clients, or by whatever balances load."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from state.shape import readable, typed
from state.store import Store


def keep(store: Store, cpus: Mapping[int, tuple[int, int]]) -> None:
    """Remembers the CPUs of these relays, VF to VM first, in place of what they had."""
    rows = [(relay, *pair) for relay, pair in cpus.items()]
    store.run(lambda connection: connection.executemany("INSERT OR REPLACE INTO pin VALUES (?, ?, ?)", rows))


def forget(store: Store, relays: Iterable[int]) -> None:
    """These have none any more."""
    rows = [(relay,) for relay in relays]
    store.run(lambda connection: connection.executemany("DELETE FROM pin WHERE relay = ?", rows))


def kept(store: Store) -> dict[int, tuple[int, int]]:
    """CPUs by relay."""
    rows = readable(store, "pin", "relay, vf_to_vm, vm_to_vf", typed(int, int, int))
    return {relay: (vf_to_vm, vm_to_vf) for relay, vf_to_vm, vm_to_vf in rows}
