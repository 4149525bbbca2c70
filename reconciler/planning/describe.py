"""Actions, resources and whole plans in the words that plans, logs and the history use."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

from schema.model import (
    PAGE_BYTES,
    Action,
    Engine,
    Impact,
    Kind,
    Mount,
    Pages,
    Pin,
    Port,
    Relay,
    Resource,
    Socket,
    Verb,
)
from schema.system.logs import KEY

FILE_FIELDS = ("uid", "gid", "permissions")
"""Of a socket that vio4wd makes; one that QEMU makes has its own."""


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


@dataclass(frozen=True, slots=True)
class Summary:
    """How many actions of which sort, and what they cost."""

    add: int
    change: int
    remove: int
    migrate: int
    impact: Impact

    def __str__(self) -> str:
        return (
            f"{self.add} to add, {self.change} to change, {self.remove} to remove, {self.migrate} to migrate "
            f"(impact: {self.impact})"
        )


def summary(actions: Iterable[Action]) -> Summary:
    """How many actions of which sort, and what the dearest of them costs."""
    todo = list(actions)
    verbs = [action.verb for action in todo]
    rank = list(Impact)
    worst = max((rank.index(action.impact) for action in todo), default=0)
    return Summary(
        add=verbs.count(Verb.ADD),
        change=verbs.count(Verb.UPDATE) + verbs.count(Verb.REPLACE),
        remove=verbs.count(Verb.REMOVE),
        migrate=verbs.count(Verb.MIGRATE),
        impact=rank[worst],
    )


def number_of(count: int, what: str) -> str:
    """`1 relay`, `3 relays`; `what` is the word for one."""
    return f"{count} {what}{'' if count == 1 else 's'}"
