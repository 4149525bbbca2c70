"""Bonds: several devices behind one port. Which of them carry traffic is decided here, several times a second.

DPDK fails over by itself where a driver reports its link. The software drivers do not: af_packet says up whatever
happens, tap tells nobody. So links are looked at here, and what DPDK has not acted on is acted on: the mode with one
active member is given another, the others lose a member whose link is down until it is up again. Where DPDK was faster
nothing is left to do.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from engine.api.fault import Refused, refused
from engine.dataplane.carrier import Interfaces
from engine.dpdk import bond as dpdk
from engine.dpdk.error_causes import why
from engine.dpdk.library import DpdkError
from schema.model import Port

if TYPE_CHECKING:  # importing it compiles, which nothing here needs
    from engine.dataplane.context import Context

log = logging.getLogger("vio4wd.engine")
ONE_ACTIVE = "active-backup"
LACP = "802.3ad"
SERVICE_MS = 20
"""802.3ad complains after 100 ms without bursts; the sleep of an idle worker comes on top of this."""
BY_FLOW = ("balance", LACP)


@dataclass(slots=True)
class Member:
    """A device that belongs to a bond."""

    device: str
    """As the spec names it, with its arguments."""
    id: int
    link_up: bool = False
    active: bool = False
    """Packets leave through it."""
    joined: bool = False
    """DPDK has it in the bond: not so while its link is down in a mode that would go on sending through it."""
    excluded: bool = False
    """It could not be taken back; the next change of its link tries again."""

    @property
    def name(self) -> str:
        return self.device.partition(",")[0]


@dataclass(slots=True)
class Bond:
    """A bond that DPDK has."""

    name: str
    mode: str
    id: int
    members: list[Member] = field(default_factory=list)
    """In the order of the spec."""
    started: bool = False
    active_id: int = -1
    """The port id of the member that was last made the active one."""

    @property
    def link_up(self) -> bool:
        return any(member.link_up for member in self.members)

    def to_json(self) -> list[dict[str, Any]]:
        """The members as `observe` shows them."""
        return [
            {"name": member.name, "link": "up" if member.link_up else "down", "active": member.active}
            for member in self.members
        ]


def dpdk_port_names(port: Port) -> tuple[str, ...]:
    """The names of all DPDK ports that a port takes: its own and its members'."""
    return port.name, *(device.partition(",")[0] for device in port.members)


class Bonds:
    """Makes, changes and ends bonds. Callers see to it that no table has an entry of the bond, but for `look`."""

    def __init__(self, context: Context, interfaces: Interfaces) -> None:
        self._ethdevs = context.ethdevs
        self._interfaces = interfaces
        self._loaded: dpdk.BondLibrary | None = None

    @property
    def _library(self) -> dpdk.BondLibrary:
        if self._loaded is None:
            from engine.dpdk.installed import DPDK

            try:
                self._loaded = dpdk.BondLibrary(DPDK)
            except OSError as error:
                raise Refused("unsupported", f"this DPDK has no bonding: {error}; install librte_net_bond") from error
        return self._loaded

    def make(self, port: Port) -> Bond:
        """Attaches the members and joins them, not started yet. Raises Refused, and leaves nothing behind then."""
        mode = dpdk.MODES.get(port.bond_mode)
        if mode is None or not port.members:
            raise Refused("bad-request", f"{port.name}: a bond has a mode ({', '.join(dpdk.MODES)}) and members")
        members: list[Member] = []
        bond: Bond | None = None
        library = self._library
        try:
            for device in port.members:
                members.append(self._attach(port.name, device))
            node = self._ethdevs.numa_node(members[0].id)
            bond = Bond(port.name, port.bond_mode, library.create(port.name, mode, node))
            self._join_all(bond, members)
        except DpdkError as error:
            self._undo(bond, members)
            raise refused(f"{port.name} cannot be made", error) from error
        except Refused:
            self._undo(bond, members)
            raise
        return bond

    def _attach(self, bond: str, device: str) -> Member:
        name, _, args = device.partition(",")
        try:
            return Member(device, self._ethdevs.attach(name, args))
        except DpdkError as error:
            raise refused(f"{bond}: its member {name} cannot be attached", error, device) from error

    def _join_all(self, bond: Bond, members: Sequence[Member]) -> None:
        for member in members:
            self._join(bond, member)
        bond.members = list(members)
        self._library.set_monitoring(bond.id)
        if bond.mode in BY_FLOW:
            self._library.set_policy(bond.id)

    def _join(self, bond: Bond, member: Member) -> None:
        """Raises Refused."""
        try:
            self._library.add(bond.id, member.id)
        except DpdkError as error:
            raise refused(f"{bond.name} does not take {member.name} as a member", error) from error
        member.joined = True
        if bond.started:
            self._ethdevs.listen(member.id)

    def started(self, bond: Bond) -> None:
        """The bond was started: its members hear everything, as a VF of a relay does."""
        bond.started = True
        for member in bond.members:
            self._ethdevs.listen(member.id)  # bonding tells only the first where one is active

    def service_cycles(self, bond: Bond) -> int:
        """How often the bond wants bursts each way though nothing moves, in TSC cycles; 0: it does not."""
        return self._library.tsc_hz * SERVICE_MS // 1000 if bond.mode == LACP else 0

    def dissolve(self, bond: Bond) -> None:
        """Ends the bond and detaches its members. Raises Refused with the first thing that did not work."""
        self._ethdevs.stop(bond.id)
        if not bond.started:
            time.sleep(3 * dpdk.MONITORING_MS / 1000)  # the alarm that looks at members must not find the bond gone
        wrong: list[DpdkError] = []
        for member in bond.members:
            self._ethdevs.stop(member.id)  # runs still when the bond did not start as a whole
            with _noted(wrong):
                if member.joined:
                    self._library.remove(bond.id, member.id)
        with _noted(wrong):
            self._library.free(bond.name)
        for member in bond.members:
            with _noted(wrong):
                self._ethdevs.detach(member.id)
        if wrong:
            raise refused(f"{bond.name} cannot be taken down", wrong[0]) from wrong[0]

    def _undo(self, bond: Bond | None, members: Sequence[Member]) -> None:
        if bond is not None:
            bond.members = list(members)
            with contextlib.suppress(Refused):
                self.dissolve(bond)
            return
        for member in members:
            with contextlib.suppress(DpdkError):
                self._ethdevs.detach(member.id)

    def change(self, bond: Bond, devices: Sequence[str]) -> None:
        """Gives a started bond other members, or another order. Raises Refused, with the bond as it
        was as far as possible: its members are what `bond.members` says."""
        kept = {member.device: member for member in bond.members if member.device in devices}
        gone = [member for member in bond.members if member.device not in kept]
        names = {device.partition(",")[0] for device in devices if device not in kept}
        first = [member for member in gone if member.name in names]
        for member in first:  # the same device with other arguments: it has to be released before it can be taken
            self._leave(bond, member)
        try:
            fresh = self._welcome(bond, [device for device in devices if device not in kept])
        except Refused:
            self._welcome_back(bond, first)
            raise
        for member in gone:
            if member not in first:
                self._leave(bond, member)
        now = {**kept, **{member.device: member for member in fresh}}
        bond.members = [now[device] for device in devices]

    def _welcome(self, bond: Bond, devices: Sequence[str]) -> list[Member]:
        """New members, all or none. Raises Refused."""
        fresh: list[Member] = []
        try:
            for device in devices:
                fresh.append(self._attach(bond.name, device))
                self._join(bond, fresh[-1])
        except Refused:
            for member in fresh:
                self._leave(bond, member)
            raise
        return fresh

    def _welcome_back(self, bond: Bond, members: Sequence[Member]) -> None:
        for member in members:
            place = bond.members.index(member)
            try:
                [bond.members[place]] = self._welcome(bond, [member.device])
            except Refused as reason:
                log.error("%s: %s could not be put back: %s", bond.name, member.name, reason)
                bond.members.remove(member)

    def _leave(self, bond: Bond, member: Member) -> None:
        """Takes a member out and detaches it."""
        try:
            self._part(bond, member)
            self._ethdevs.detach(member.id)
        except DpdkError as error:
            log.error("%s: while %s left: %s", bond.name, member.name, why(error).sentence)

    def _part(self, bond: Bond, member: Member) -> None:
        """Takes a member out; it stays attached. Raises DpdkError."""
        if member.joined:
            self._library.remove(bond.id, member.id)
            self._ethdevs.stop(member.id)
        member.joined = member.active = False
        if member.id == bond.active_id:
            bond.active_id = -1

    def look(self, bond: Bond) -> bool:
        """Reads the members' links and moves the active one: whether `join_and_part` has to be called, which needs
        quiet."""
        for member in bond.members:
            up = self._interfaces.carrier(member.device)
            up = self._ethdevs.link_up(member.id) if up is None else up
            if up != member.link_up:
                log.info("%s: the link of %s is %s", bond.name, member.name, "up" if up else "down")
                member.link_up, member.excluded = up, False
        if bond.mode == ONE_ACTIVE:
            self._choose_active(bond)
        else:
            self._note_active(bond)
        return bool(_to_part(bond) or _to_join(bond))

    def _choose_active(self, bond: Bond) -> None:
        """The active member stays while its link is up: a switch that saw no link go would still send to it.

        Else the first one whose link is up becomes active. Bonding writes one word for it: nobody waits.
        """
        current = self._library.primary(bond.id)
        usable = [member for member in bond.members if member.link_up and member.joined]
        wanted = next((m for m in usable if m.id == current), usable[0] if usable else None)
        if wanted is not None and wanted.id != bond.active_id:
            self._activate(bond, wanted, moved=wanted.id != current)
        for member in bond.members:
            member.active = member is wanted

    def _activate(self, bond: Bond, wanted: Member, moved: bool) -> None:
        """Also where bonding has moved by itself, which without this would move back as soon as it could."""
        log.info("%s: %s is active", bond.name, wanted.name)
        mac = bytes.fromhex(self._ethdevs.mac(bond.id).replace(":", ""))
        try:
            self._library.set_primary(bond.id, wanted.id)
        except DpdkError as error:
            log.error("%s: %s cannot take over: %s", bond.name, wanted.name, why(error).sentence)
        bond.active_id = wanted.id
        if moved:  # a VF that is not trusted hears only its own address, so the bond's goes there; some refuse
            self._library.set_mac(bond.id, mac)

    def _note_active(self, bond: Bond) -> None:
        active = self._library.active(bond.id)
        for member in bond.members:
            usable = member.joined and member.link_up and member.id in active
            member.active = usable and (bond.mode != LACP or self._library.aggregates(bond.id, member.id))

    def join_and_part(self, bond: Bond) -> None:
        """Takes members whose link came up back into the bond, and those out whose link went down."""
        for member in _to_join(bond):
            try:
                self._join(bond, member)
            except Refused as reason:
                log.error("%s; tried again when its link changes", reason)
                member.excluded = True
        for member in _to_part(bond):
            try:
                self._part(bond, member)
            except DpdkError as error:
                log.error("%s: %s cannot be taken out: %s", bond.name, member.name, why(error).sentence)
                member.excluded = True


def _to_join(bond: Bond) -> list[Member]:
    return [m for m in bond.members if m.link_up and not m.joined and not m.excluded]


def _to_part(bond: Bond) -> list[Member]:
    """Members that would swallow packets. One stays when all are down: then the port is down and nothing is sent."""
    if bond.mode == ONE_ACTIVE or not bond.link_up:
        return []
    return [m for m in bond.members if not m.link_up and m.joined and not m.excluded]


@contextlib.contextmanager
def _noted(wrong: list[DpdkError]) -> Iterator[None]:
    """Goes on after a failure, which is kept."""
    try:
        yield
    except DpdkError as error:
        wrong.append(error)
