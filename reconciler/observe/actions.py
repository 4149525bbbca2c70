"""What is done to each kind of resource: the action that adds it, removes it and changes it, what that costs, and why.

When they are needed, and in which order, is the plan's business.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence, Set
from dataclasses import fields, replace
from itertools import zip_longest

from reconciler.observe.diff import difference, pages_to_be
from schema.model import (
    PAGE_BYTES,
    STARTED_WITH,
    Action,
    Engine,
    Impact,
    Kind,
    Mount,
    Pages,
    Pin,
    Port,
    Relay,
    Socket,
    State,
    Verb,
    Vf,
    Worker,
)

# ---- The engine process: some parameters change while it runs, what the EAL takes at its start needs a new one.


def needs_new_process(before: Engine, after: Engine) -> bool:
    """Whether the engine must be started anew."""
    return any(getattr(before, name) != getattr(after, name) for name in STARTED_WITH)


def change_engine(before: Engine, after: Engine) -> Action:
    """Update in place, or replace where that can't be."""
    if needs_new_process(before, after):
        reason = f"{_what_changes(before, after)}, which takes a new process"
        return Action(Verb.REPLACE, Kind.ENGINE, 0, None, before, after, Impact.HOST, reason)
    names = [f.name for f in fields(Engine) if getattr(before, f.name) != getattr(after, f.name)]
    reason = f"{' and '.join(names)} {'changes' if len(names) == 1 else 'change'}"
    return Action(Verb.UPDATE, Kind.ENGINE, 0, None, before, after, Impact.NONE, reason)


def _what_changes(before: Engine, after: Engine) -> str:
    name = next(name for name in STARTED_WITH if getattr(before, name) != getattr(after, name))
    values = "" if name == "vfio_vf_token" else f" from {getattr(before, name)} to {getattr(after, name)}"
    return f"{name} changes{values}"


# ---- A CPU on which relays are polled.


def add_worker(after: Worker) -> Action:
    reason = "engine.worker_cpus names this CPU"
    return Action(Verb.ADD, Kind.WORKER, after.cpu, None, None, after, Impact.NONE, reason)


def remove_worker(before: Worker) -> Action:
    """Comes after everything that was polled there has moved, so nobody notices."""
    reason = "engine.worker_cpus no longer names this CPU"
    return Action(Verb.REMOVE, Kind.WORKER, before.cpu, None, before, None, Impact.NONE, reason)


# ---- A PCI function of the host: bound to vfio-pci before its port is added, given back when nobody polls it.


def add_vf(after: Vf, relay: int | None) -> Action:
    reason = f"{_user_of_vf(relay)} has it bound by vio4wd"
    return Action(Verb.ADD, Kind.VF, after.address, relay, None, after, Impact.NONE, reason)


def _user_of_vf(relay: int | None) -> str:
    return f"relay {relay}" if relay is not None else "bind_vfs"


def remove_vf(before: Vf, relay: int | None) -> Action:
    """Comes after its port has gone, so it costs nobody anything any more."""
    reason = "vio4wd had bound it, and no relay of the spec uses it"
    return Action(Verb.REMOVE, Kind.VF, before.address, relay, before, None, Impact.NONE, reason)


def change_vf(before: Vf, after: Vf, relay: int | None) -> Action:
    """Somebody else has bound it to another driver, or it was plugged in again."""
    reason = f"{_user_of_vf(relay)} has it bound by vio4wd, and it was taken away"
    return Action(Verb.REPLACE, Kind.VF, after.address, relay, before, after, Impact.NONE, reason)


# ---- A port: a VF's PCI function, a virtual device, or a bond of several of these.


def add_port(after: Port, relay: int | None) -> Action:
    return Action(Verb.ADD, Kind.PORT, after.name, relay, None, after, Impact.NONE, f"relay {relay} needs it")


def remove_port(before: Port, relay: int | None) -> Action:
    """Comes after its relay has gone or moved on, so it costs nobody anything any more."""
    reason = "no relay of the spec uses it"
    return Action(Verb.REMOVE, Kind.PORT, before.name, relay, before, None, Impact.NONE, reason)


def change_port(before: Port, after: Port, relay: int | None) -> Action:
    """A bond's members come and go while it lives. All else is set when a device is attached; its relay drains
    meanwhile."""
    if after.bond_mode and replace(before, members=after.members) == after:
        return Action(
            Verb.UPDATE,
            Kind.PORT,
            after.name,
            relay,
            before,
            after,
            _impact_on_bond(before, after),
            _joined_and_left(before, after),
        )
    reason = f"{_set_when_attached(before, after)} only anew"
    return Action(Verb.REPLACE, Kind.PORT, after.name, relay, before, after, Impact.RELAY, reason)


def _set_when_attached(before: Port, after: Port) -> str:
    if before.bond_mode != after.bond_mode:
        return "a bond takes its mode"
    changed = [f.name for f in fields(Port) if getattr(before, f.name) != getattr(after, f.name)]
    names = ["arguments" if name == "args" else name for name in changed if name != "members"]
    return f"a device takes {' and '.join(names)}"


def _impact_on_bond(before: Port, after: Port) -> Impact:
    """Who leaves may be the one that carries the traffic, which then stops for a moment."""
    return Impact.RELAY if set(before.members) - set(after.members) else Impact.NONE


def _joined_and_left(before: Port, after: Port) -> str:
    joined = [member.partition(",")[0] for member in after.members if member not in before.members]
    left = [member.partition(",")[0] for member in before.members if member not in after.members]
    parts = [f"{' and '.join(names)} {verb}" for names, verb in ((joined, "to join"), (left, "to leave")) if names]
    return f"the spec wants {', '.join(parts)}" if parts else "the spec prefers its members in another order"


# ---- A vhost-user socket.


def add_socket(after: Socket, relay: int | None) -> Action:
    reason = "vhost_user.template_sockets asks for it" if relay is None else f"relay {relay} needs it"
    return Action(Verb.ADD, Kind.SOCKET, after.path, relay, None, after, Impact.NONE, reason)


def remove_socket(before: Socket, relay: int | None) -> Action:
    reason = "no relay of the spec uses it"
    return Action(Verb.REMOVE, Kind.SOCKET, before.path, relay, before, None, Impact.GUEST, reason)


def change_socket(before: Socket, after: Socket, relay: int | None) -> Action:
    """Owner, group and permissions change on the file; the rest is settled between the two when they connect."""
    if before.mode != after.mode:
        reason = "who connects to whom changes, so QEMU must be started anew with its socket the other way round"
        return Action(Verb.REPLACE, Kind.SOCKET, after.path, relay, before, after, Impact.GUEST, reason)
    if before.features != after.features:
        reason = "guests see offered features only when they connect"
        return Action(Verb.REPLACE, Kind.SOCKET, after.path, relay, before, after, Impact.GUEST, reason)
    reason = "who may connect changes"
    return Action(Verb.UPDATE, Kind.SOCKET, after.path, relay, before, after, Impact.NONE, reason)


# ---- A relay: the pairing of a port with a socket.


BROKEN = "relays exchange VFs or sockets in a circle, and one must be removed first"
WHY = ", because there are not enough ports where it is; the guest sees its link go until it is there"


def add_relay(after: Relay, reason: str = "the spec asks for it") -> Action:
    return Action(Verb.ADD, Kind.RELAY, after.id, after.id, None, after, Impact.NONE, reason)


def remove_relay(before: Relay, reason: str = "the spec no longer has it") -> Action:
    return Action(Verb.REMOVE, Kind.RELAY, before.id, before.id, before, None, Impact.RELAY, reason)


def change_relay(before: Relay, after: Relay) -> Action:
    parts = [
        word
        for word, differs in (("VF", before.port != after.port), ("socket", before.socket != after.socket))
        if differs
    ]
    reason = f"the spec gives it another {' and another '.join(parts)}"
    return Action(Verb.UPDATE, Kind.RELAY, after.id, after.id, before, after, Impact.RELAY, reason)


def leave_relay(removal: Action, shard: int) -> Action:
    """The removal of a relay that goes on in another engine process: its guest is connected to the old one."""
    return replace(removal, impact=Impact.GUEST, reason=f"it has to move to shard {shard}{WHY}")


def arrive_relay(addition: Action, shard: int) -> Action:
    return replace(addition, impact=Impact.GUEST, reason=f"it has to move here, from shard {shard}{WHY}")


# ---- Where a relay is polled. Its first pin rides with `add relay`; only later ones are actions of their own.


def change_pin(before: Pin | None, after: Pin, wanted: bool, cpus: Set[int]) -> Action:
    """`wanted`: the spec gives this pin; else the planner had to move it, because `cpus` has not all of it any more."""
    reason = "the spec pins it there" if wanted else _why_moved(before, cpus)
    return Action(Verb.MIGRATE, Kind.PIN, after.relay, after.relay, before, after, Impact.NONE, reason)


def _why_moved(before: Pin | None, cpus: Set[int]) -> str:
    gone = sorted({before.vf_to_vm, before.vm_to_vf} - cpus) if before is not None else []
    if not gone:
        return "it has no place yet"
    return f"CPU {gone[0]} is no worker any more" if len(gone) == 1 else f"CPUs {gone[0]} and {gone[1]} are no workers"


# ---- Hugepages and their mounts, which the host has once. Pages that it kept before vio4wd count for what a spec
# ---- wants, and stay whatever it says; so does a mount that vio4wd has not made.


def readied(desired: State, observed: State) -> Iterable[Action]:
    """Pages reserved, then mounts made: one that moves is made at its new place before the old one goes."""
    fresh = difference(desired.pages, observed.pages).added
    yield from (add_pages(pages_to_be(wanted, Pages(size, 0))) for size, wanted in fresh.items())
    yield from (change_pages(before, after) for before, after in _goals(desired, observed) if pages_grow(before, after))
    mounts = difference(desired.mounts, observed.mounts)
    yield from (change_mount(*pair) for pair in mounts.changed.values())
    yield from (add_mount(wanted) for wanted in mounts.added.values())


def given_back(desired: State, observed: State) -> Iterable[Action]:
    """Mounts taken down, then pages given back."""
    yield from (remove_mount(live) for live in difference(desired.mounts, observed.mounts).removed.values())
    for before, after in _goals(desired, observed):
        if not pages_grow(before, after):
            yield change_pages(before, after) if after.total else remove_pages(before)


def _goals(desired: State, observed: State) -> list[tuple[Pages, Pages]]:
    """The live pages that are to be more, fewer or elsewhere, each with what they are to become."""
    found = difference(desired.pages, observed.pages)
    live = [*found.removed.items(), *((size, before) for size, (before, _) in found.changed.items())]
    return [(before, pages_to_be(desired.pages.get(size), before)) for size, before in sorted(live)]


def coming(actions: Iterable[Action], nodes: Collection[int]) -> dict[int, int]:
    """How many bytes of hugepages a plan reserves on each of these NUMA nodes, beyond what is there. What may lie on
    any node is spread evenly, as the kernel does it."""
    found = dict.fromkeys(nodes, 0)
    for action in actions:
        after, before = action.after, action.before
        if not isinstance(after, Pages) or not nodes:
            continue
        live = before if isinstance(before, Pages) else Pages(after.size, 0)
        for node in found:
            if after.nodes:
                more = _at(after.nodes, node) - _at(live.nodes, node)
            else:
                more = (after.total - live.total) // len(found)
            found[node] += max(0, more) * PAGE_BYTES[after.size]
    return found


def _at(counts: Sequence[int], node: int) -> int:
    return counts[node] if node < len(counts) else 0


def pages_grow(before: Pages | None, after: Pages) -> bool:
    """Whether some of them are to be more, so that others may need them."""
    if before is None or after.total > before.total or after.max_maps > before.max_maps:
        return True
    return any(a > b for a, b in zip_longest(after.nodes, before.nodes if after.nodes else (), fillvalue=0))


def add_pages(after: Pages) -> Action:
    reason = "the spec asks for them"
    return Action(Verb.ADD, Kind.PAGES, after.size, None, None, after, Impact.NONE, reason)


def remove_pages(before: Pages) -> Action:
    """Comes after everything that may have used them has gone."""
    reason = "vio4wd had reserved them, and the spec asks for none"
    return Action(Verb.REMOVE, Kind.PAGES, before.size, None, before, None, Impact.NONE, reason)


def change_pages(before: Pages, after: Pages) -> Action:
    """More or fewer; nobody's pages are taken from him."""
    if after.total > before.total:
        reason = "the spec asks for more"
    elif after.total < before.total:
        reason = "vio4wd had reserved more than the spec asks for now"
    elif after.max_maps > before.max_maps:
        reason = "a process may map each page on its own, and vm.max_map_count has to allow that"
    else:
        reason = "the spec asks for them on other nodes"
    return Action(Verb.UPDATE, Kind.PAGES, after.size, None, before, after, Impact.NONE, reason)


def add_mount(after: Mount) -> Action:
    return Action(Verb.ADD, Kind.MOUNT, after.path, None, None, after, Impact.NONE, "the spec asks for it")


def remove_mount(before: Mount) -> Action:
    """Comes last; while somebody uses it, it stays."""
    reason = "vio4wd had mounted it, and the spec does not ask for it any more"
    return Action(Verb.REMOVE, Kind.MOUNT, before.path, None, before, None, Impact.NONE, reason)


def change_mount(before: Mount, after: Mount) -> Action:
    """Directories in place. Pages of another size take another mount, which is made only when nobody uses this one."""
    if before.page_size != after.page_size:
        verb, reason = Verb.REPLACE, "the spec wants pages of another size there"
    else:
        verb, reason = Verb.UPDATE, "its directories for libvirt are to be others'"
    return Action(verb, Kind.MOUNT, after.path, None, before, after, Impact.NONE, reason)
