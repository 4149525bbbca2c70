"""What a failed action spoils for those after it, and nothing more: one broken VF never stops the other relays."""

from __future__ import annotations

from schema.model import Action, Key, Kind, Mount, Pin, Port, Relay, State
from schema.vf import pci_functions

Token = tuple[str, Key]
"""`("port", name)`: the port is as planned; `("port free", name)`: its former relay has let go of it."""


def needs(action: Action, pin: Pin | None) -> set[Token]:
    """What must have gone well before, for the action to make sense. `pin` is the one that rides with it."""
    tokens: set[Token] = {(action.kind.value, action.key)}
    if action.after is None and action.kind in (Kind.PORT, Kind.SOCKET, Kind.WORKER):
        tokens.add((f"{action.kind} free", action.key))
    if action.kind is Kind.VF and action.after is None:
        tokens.add(("port", action.key))
    if isinstance(action.before, Mount) and action.after is None:
        tokens.add(("mounts", action.before.page_size))
    if isinstance(action.after, Port):
        tokens |= {("vf", address) for address in pci_functions(action.after)}
    if isinstance(action.after, Relay):
        for kind, key in (("port", action.after.port), ("socket", action.after.socket)):
            tokens |= {(kind, key), (f"{kind} free", key)}
    place = action.after if isinstance(action.after, Pin) else pin
    if place is not None:
        tokens |= {("worker", place.vf_to_vm), ("worker", place.vm_to_vf), ("relay", place.relay)}
    return tokens


def spoils(action: Action, observed: State) -> set[Token]:
    """What can't be relied on once the action failed or was skipped."""
    tokens: set[Token] = {(action.kind.value, action.key)}
    if isinstance(action.after, Mount):
        # It may be that one which another was to take the place of.
        tokens.add(("mounts", action.after.page_size))
    if isinstance(action.before, Port):
        # A member of a bond that did not go is still in use, as is the bond.
        tokens |= {("port", address) for address in pci_functions(action.before)}
    if isinstance(action.before, Relay):
        tokens |= {("port free", action.before.port), ("socket free", action.before.socket)}
        if action.after is None:
            tokens |= _place(observed.pins.get(action.before.id))
    if isinstance(action.before, Pin):
        tokens |= _place(action.before)
    return tokens


def _place(pin: Pin | None) -> set[Token]:
    return set() if pin is None else {("worker free", pin.vf_to_vm), ("worker free", pin.vm_to_vf)}
