"""What PCI functions were before vio4wd bound them: what they are to be again when they are given back."""

from __future__ import annotations

from dataclasses import dataclass

from state.shape import readable, typed
from state.store import Store


@dataclass(frozen=True, slots=True)
class Binding:
    """A PCI function's former driver and driver_override; empty: none."""

    address: str
    driver: str
    override: str


def remember(store: Store, binding: Binding) -> None:
    """Writes it down, unless the function is known already: then what it was first is what counts."""
    row = (binding.address, binding.driver, binding.override)
    store.run(lambda connection: connection.execute("INSERT OR IGNORE INTO binding VALUES (?, ?, ?)", row))


def forget(store: Store, address: str) -> None:
    store.run(lambda connection: connection.execute("DELETE FROM binding WHERE address = ?", (address,)))


def bindings(store: Store) -> dict[str, Binding]:
    """By address."""
    rows = readable(store, "binding", "address, driver, override", typed(str, str, str), "ORDER BY address")
    return {row[0]: Binding(*row) for row in rows}
