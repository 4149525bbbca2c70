"""Which action needs which one first: the one relation from which the order of a plan is read, the circles in it that
have to be broken, and what a failed action spoils.

Each action needs conditions, and brings some about; it needs those actions first that bring what it needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from schema.model import Action, Key, Kind, Mount, Pin, Port, Relay, Resource
from schema.vf import device_names, pci_functions

Condition = tuple[str, Key]
"""`("port", name)`: it is there as planned; `("port free", name)`: the relay that had it has it no longer; `("port
gone", name)`: it was removed; so with other kinds. `("device free", name)`: no port has it. `("mounts", page size)`."""
Pins = Mapping[int, Pin]
NO_PINS: Pins = MappingProxyType({})


def needs(action: Action, pin: Pin | None = None) -> Iterator[Condition]:
    """What must be so for the action to make sense, what has to go first. `pin` is the one that rides with it."""
    if action.after is None:
        yield from _to_go(action)
    elif action.before is None:
        yield f"{action.kind} gone", action.key
    match action.after:
        case Port() as port:
            yield from (("device free", device) for device in _devices(port, action.before))
            yield from (("vf", address) for address in pci_functions(port))
        case Relay() as relay:
            yield from ((f"{kind} free", key) for kind, key in _uses(relay))
            yield from _uses(relay)
        case Pin() as moved:
            pin = moved
    if pin is not None:
        yield from (("relay", pin.relay), ("worker", pin.vf_to_vm), ("worker", pin.vm_to_vf))


def _to_go(action: Action) -> Iterator[Condition]:
    if isinstance(action.before, Mount):
        yield "mounts", action.before.page_size
    elif action.kind is Kind.VF:
        yield "device free", action.key
    elif action.kind is not Kind.RELAY:
        yield f"{action.kind} free", action.key


def brings(action: Action, pins: Pins = NO_PINS) -> Iterator[Condition]:
    """What is so only once the action is done. `pins` are the relays' before the plan."""
    before, after = action.before, action.after
    if before is None:
        yield action.kind.value, action.key
    elif after is None:
        yield f"{action.kind} gone", action.key
    match before:
        case Port():
            yield from (("device free", device) for device in _devices(before, after))
        case Relay():
            yield from ((f"{kind} free", key) for kind, key in _uses(before) if (kind, key) not in _uses(after))
            yield from _workers(pins.get(before.id)) if after is None else ()
        case Pin():
            yield from _workers(before)
    if isinstance(after, Mount):
        yield "mounts", after.page_size


def _uses(relay: Resource | None) -> tuple[Condition, ...]:
    return (("port", relay.port), ("socket", relay.socket)) if isinstance(relay, Relay) else ()


def _workers(pin: Pin | None) -> tuple[Condition, ...]:
    return () if pin is None else (("worker free", pin.vf_to_vm), ("worker free", pin.vm_to_vf))


def _devices(port: Port, other: Resource | None) -> list[str]:
    """Those that it has and the other one has not."""
    return sorted(device_names(port) - (device_names(other) if isinstance(other, Port) else frozenset()))


def spoils(action: Action, pins: Pins) -> frozenset[Condition]:
    """What can't be relied on once the action failed or was skipped: what was to be changed may be neither the old nor
    the new one."""
    return frozenset({*brings(action, pins), (action.kind.value, action.key)})


def firsts(actions: Iterable[Action], pins: Pins = NO_PINS) -> dict[Action, tuple[Action, ...]]:
    """Of these actions, those that each needs first."""
    bringing: dict[Condition, list[Action]] = {}
    known = tuple(actions)
    for action in known:
        for condition in brings(action, pins):
            bringing.setdefault(condition, []).append(action)
    return {a: tuple(first for condition in needs(a) for first in bringing.get(condition, ())) for a in known}


def ordered(actions: Iterable[Action], pins: Pins) -> tuple[Action, ...]:
    """In the order given, except that what an action needs first is drawn forward, with whatever that needs itself."""
    known = tuple(actions)
    first = firsts(known, pins)
    begun: set[Action] = set()
    done: list[Action] = []

    def take(action: Action) -> None:
        if action not in begun:
            begun.add(action)
            for each in first[action]:
                take(each)
            done.append(action)

    for action in known:
        take(action)
    return tuple(done)
