"""A plan in lines that a person reads before it runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import groupby
from types import MappingProxyType
from typing import TYPE_CHECKING

from reconciler.planning.planned_action import Errand
from schema.model import PAGE_BYTES, Action, Engine, Kind, Mount, Pages, Pin, Port, Relay, Resource, Socket, Verb
from schema.system.token import KEY

if TYPE_CHECKING:
    from reconciler.apply.saved_plan import SavedPlan

SYMBOLS: Mapping[Verb, str] = MappingProxyType(
    {Verb.ADD: "+", Verb.REMOVE: "-", Verb.UPDATE: "~", Verb.REPLACE: "-/+", Verb.MIGRATE: ">"}
)
LEGEND: Mapping[Verb, str] = MappingProxyType(
    {
        Verb.ADD: "add",
        Verb.REMOVE: "remove",
        Verb.UPDATE: "change in place",
        Verb.REPLACE: "take down and set up again",
        Verb.MIGRATE: "migrate to other CPUs, nothing is lost",
    }
)


FILE_FIELDS = ("uid", "gid", "permissions")
"""Of a socket that vio4wd makes; one that QEMU makes has its own."""


Line = tuple[str, Verb | None]
"""Of a plan, with the verb that it is about (None: no particular one)."""


def lines(saved: SavedPlan, missing: Iterable[str] = ()) -> Iterator[Line]:
    """Each line of a plan. What only sets right what somebody changed stands apart, as does what comes after a new
    process. `missing` are sentences on engines that are needed and not there."""
    waits = [*(f"Waiting: {why}" for why in missing), *(f"Held back: {each}" for each in saved.held)]
    yield from ((line, None) for line in waits)
    if saved.errands:
        yield from _changes(saved)
    elif waits or saved.problems:
        yield "Nothing else is to be done." if waits else "Nothing is to be done.", None
    else:
        yield f"Nothing to do: the {'engines match' if saved.several else 'engine matches'} {saved.file}.", None
    yield from _problems(saved)


def _changes(saved: SavedPlan) -> Iterator[Line]:
    several, everything = saved.several, (*saved.errands, *saved.follows)
    used = [verb for verb in Verb if any(errand.action.verb is verb for errand in everything)]
    yield f"The {'engines are' if several else 'engine is'} to be changed as follows:", None
    yield from ((f"  {SYMBOLS[verb]:>3} {LEGEND[verb]}", verb) for verb in used)
    drifted = [errand for place, errand in enumerate(saved.errands) if place in saved.drift]
    if drifted:
        yield from (("", None), ("Somebody changed what was applied. To set that right (drift):", None))
        yield from _errands(drifted, several)
    wanted = [errand for place, errand in enumerate(saved.errands) if place not in saved.drift]
    if drifted and wanted:
        yield from (("", None), ("What the spec wants otherwise than before:", None))
    yield from _errands(wanted, several)
    if saved.follows:
        yield from (("", None), (f"After that, on the new {'processes' if several else 'process'}:", None))
        yield from _errands(saved.follows, several)
    yield "", None
    yield f"Plan: {saved.summary}", None


def _problems(saved: SavedPlan) -> Iterator[Line]:
    if saved.problems:
        yield from (("", None), ("As this host is now, this will not work:", None))
        yield from ((f"  {each}", Verb.REMOVE) for each in saved.problems)


def _errands(todo: Sequence[Errand], several: bool) -> Iterator[Line]:
    """In their order, with a heading wherever another shard has its turn; one alone has none."""
    width = max((len(errand.action.resource) for errand in todo), default=0)
    for shard, errands in groupby(todo, key=lambda errand: errand.shard):
        yield "", None
        if several:
            yield f"  Shard {shard}:", None
        for errand in errands:
            yield from ((line, errand.action.verb) for line in _action(errand.action, errand.pin, width))
            if errand.held:
                yield f"        held back: {errand.held}", errand.action.verb


def _action(action: Action, pin: Pin | None, width: int) -> Iterator[str]:
    detail = words(action, pin)
    yield f"  {SYMBOLS[action.verb]:>3} {action.resource:<{width}}  {detail}".rstrip()
    yield f"        impact {action.impact}: {action.reason}"


def words(action: Action, pin: Pin | None = None) -> str:
    """What an action makes of its resource, in a few words."""
    if action.kind is Kind.VF:
        return "give back" if action.verb is Verb.REMOVE else "bind to vfio-pci"
    if action.before is not None and action.after is not None:
        return _changed(action.before, action.after)
    whole = action.after if action.after is not None else action.before
    text = describe(whole) if whole is not None else ""
    return f"{text}, {describe(pin)}" if pin is not None else text


def describe(resource: Resource) -> str:
    """A resource's properties without its name."""
    match resource:
        case Pages():
            return _pages(resource)
        case Mount(page_size=size, uid=uid):
            return f"pages of {size}" + ("" if uid is None else f", libvirt's directories: {_owner(resource)}")
        case Port(bond_mode=mode) if mode:
            return f"{mode} of {_value('members', resource.members)}"
        case Port(args=args):
            return args
        case Socket():
            return _socket(resource)
        case Relay():
            return f"{resource.port} and {resource.socket}"
        case Pin():
            return f"CPUs {_cpus(resource)}"
        case Engine():
            return ", ".join(f"{f.name} {getattr(resource, f.name)}" for f in fields(Engine) if f.name != KEY)
    return ""


def _pages(pages: Pages) -> str:
    mib = pages.total * PAGE_BYTES[pages.size] // 2**20
    nodes = f", by node {' '.join(map(str, pages.nodes))}" if len(pages.nodes) > 1 else ""
    return f"{pages.total} pages ({mib} MiB){nodes}"


def _owner(mount: Mount) -> str:
    """Of the directories for libvirt."""
    if mount.uid is None or mount.permissions is None:
        return "none"
    return f"owner {mount.uid}:{mount.gid}, permissions {mount.permissions:04o}"


def _socket(socket: Socket) -> str:
    """In client mode the file is QEMU's, and nothing is said of it."""
    parts = [socket.mode]
    if socket.mode == "server":
        parts += [f"owner {socket.uid}:{socket.gid}", f"permissions {socket.permissions:04o}"]
    if socket.features:
        parts.append(f"features {' '.join(socket.features)}")
    return ", ".join(parts)


def _changed(before: Resource, after: Resource) -> str:
    if isinstance(before, Pin) and isinstance(after, Pin):
        return f"CPUs {_cpus(before)} -> {_cpus(after)}"
    if isinstance(before, Pages) and isinstance(after, Pages):
        maps = f", vm.max_map_count {before.max_maps} -> {after.max_maps}" if before.max_maps != after.max_maps else ""
        return f"{_pages(before)} -> {_pages(after)}{maps}"
    if isinstance(before, Mount) and isinstance(after, Mount):
        if before.page_size != after.page_size:
            return f"{describe(before)} -> {describe(after)}"
        return f"libvirt's directories: {_owner(before)} -> {_owner(after)}"
    client = "client" in (getattr(before, "mode", ""), getattr(after, "mode", ""))
    parts = [
        f"{f.name} changed"
        if f.name == KEY
        else f"{f.name} {_value(f.name, getattr(before, f.name))} -> {_value(f.name, getattr(after, f.name))}"
        for f in fields(before)
        if getattr(before, f.name) != getattr(after, f.name) and not (client and f.name in FILE_FIELDS)
    ]
    return ", ".join(parts)


def _value(name: str, value: object) -> str:
    if name == "permissions" and isinstance(value, int):
        return f"{value:04o}"
    return (" ".join(map(str, value)) if isinstance(value, tuple) else f"{value}") or "none"


def _cpus(pin: Pin) -> str:
    return f"{pin.vf_to_vm}, {pin.vm_to_vf}"
