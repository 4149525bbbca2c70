"""The engine: carries out one action at a time and says what is live.

Every method runs on the engine's main thread except the reads (`observe`, `counters`), which any thread may call:
registries are replaced, never changed in place.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from engine.api.fault import Refused
from engine.burst.compiled import layout as at
from engine.dataplane import counters
from engine.dataplane.bonds import Bond
from engine.dataplane.capture import Captures
from engine.dataplane.context import Context
from engine.dataplane.ports import Attached, Ports
from engine.dataplane.relays import LiveRelay, Relays
from engine.dataplane.sockets import OpenSocket, Sockets, observed
from engine.dataplane.workers import Idle, Workers
from engine.dpdk import descriptors, eal
from engine.dpdk.mbuf import Pool
from schema.model import STARTED_WITH, Action, Engine, Kind, Pin, Port, Relay, Socket, State, Verb, Worker
from schema.system.logs import log_from
from schema.vf import only_pci

log = logging.getLogger("vio4wd.engine")
T = TypeVar("T")
GUEST_EVENTS = {
    at.EVENT_CONNECTED: "guest-connected",
    at.EVENT_DISCONNECTED: "guest-disconnected",
    at.EVENT_FEATURES: "guest-features",
    at.EVENT_REFUSED: "guest-refused",
}
Announce = Callable[[str, str, int | None], None]
"""Told an event's name, its resource and the relay that it concerns."""


class RestartRequested(Exception):  # noqa: N818 - not an error
    """The engine is to end and be started again with other parameters."""


class EngineCore:
    def __init__(
        self, context: Context, eal_: eal.Eal, engine: Engine, lcores: Iterable[int], announce: Announce
    ) -> None:
        self._context = context
        self._eal = eal_
        self._announce = announce
        self._unclaimed = True
        """Whether DPDK may have opened descriptors since they were last marked as the engine's own."""
        self.engine = engine
        self.workers = Workers(context, eal_, lcores, Idle.of(engine))
        self.ports = Ports(context)
        self.sockets = Sockets(context)
        self.relays = Relays(context, self.ports, self.sockets, self.workers)
        self.captures = Captures(context, self.relays, eal_.tsc_hz)
        self.capture_verbs: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            "capture-start": self.captures.start,
            "capture-stop": self.captures.stop,
        }
        """They change nothing that is observed, so they count as no action."""
        self._verbs: Mapping[tuple[Kind, Verb], Callable[[Action, Pin | None], None]] = {
            (Kind.ENGINE, Verb.UPDATE): self._update_engine,
            (Kind.ENGINE, Verb.REPLACE): self._replace_engine,
            (Kind.WORKER, Verb.ADD): lambda action, _pin: self.workers.start(_as(Worker, action.after).cpu),
            (Kind.WORKER, Verb.REMOVE): lambda action, _pin: self.workers.stop(_as(Worker, action.before).cpu),
            (Kind.PORT, Verb.ADD): self._add_port,
            (Kind.PORT, Verb.REMOVE): self._remove_port,
            (Kind.PORT, Verb.UPDATE): self._update_port,
            (Kind.PORT, Verb.REPLACE): self._replace_port,
            (Kind.SOCKET, Verb.ADD): self._add_socket,
            (Kind.SOCKET, Verb.REMOVE): self._remove_socket,
            (Kind.SOCKET, Verb.UPDATE): lambda action, _pin: self.sockets.change(_as(Socket, action.after)),
            (Kind.SOCKET, Verb.REPLACE): self._replace_socket,
            (Kind.RELAY, Verb.ADD): self._add_relay,
            (Kind.RELAY, Verb.REMOVE): lambda action, _pin: self.relays.remove(_as(Relay, action.before).id),
            (Kind.RELAY, Verb.UPDATE): lambda action, _pin: self.relays.update(_as(Relay, action.after)),
            (Kind.PIN, Verb.MIGRATE): lambda action, _pin: self.relays.migrate(_as(Pin, action.after)),
        }

    def execute(self, action: Action, pin: Pin | None) -> None:
        """Carries out one action whole or not at all. Raises Refused, or RestartRequested."""
        verb = self._verbs.get((action.kind, action.verb))
        if verb is None:
            raise Refused("bad-request", f"{action.kind} knows no {action.verb}")
        try:
            verb(action, pin)
        finally:
            self._claim_descriptors()

    def _update_engine(self, action: Action, _pin: Pin | None) -> None:
        after = _as(Engine, action.after)
        fixed = [name for name in STARTED_WITH if getattr(after, name) != getattr(self.engine, name)]
        if fixed:
            raise Refused("unsupported", f"{' and '.join(fixed)} can only be changed by a replace")
        self._eal.set_log_level(eal.log_level(after.log_level))
        log_from(after.log_level)
        self.workers.set_idle(Idle.of(after))
        self.engine = after

    def _replace_engine(self, _action: Action, _pin: Pin | None) -> None:
        raise RestartRequested

    def _add_port(self, action: Action, _pin: Pin | None) -> None:
        port = _as(Port, action.after)
        with self._resting(self.relays.holder(port=port.name)):  # it has lost this port before
            self.ports.attach(port)

    def _remove_port(self, action: Action, _pin: Pin | None) -> None:
        name = _as(Port, action.before).name
        self._refuse_in_use(f"port {name}", self.relays.holder(port=name))
        self.ports.detach(name)

    def _update_port(self, action: Action, _pin: Pin | None) -> None:
        port = _as(Port, action.after)
        with self.relays.paused(self.relays.holder(port=port.name)):
            self.ports.change_members(port)

    def _replace_port(self, action: Action, _pin: Pin | None) -> None:
        """Meanwhile the relay rests: what its guest sends waits in the guest's own ring, so it is not lost."""
        port = _as(Port, action.after)
        before = self.ports.require(port.name).port
        with self._resting(self.relays.holder(port=port.name)):
            self.ports.detach(port.name)
            _set_up_or_put_back(self.ports.attach, port, before)

    def _add_socket(self, action: Action, _pin: Pin | None) -> None:
        socket = _as(Socket, action.after)
        with self._resting(self.relays.holder(socket=socket.path)):  # it has lost this socket before
            self.sockets.open(socket)

    def _remove_socket(self, action: Action, _pin: Pin | None) -> None:
        path = _as(Socket, action.before).path
        self._refuse_in_use(f"socket {path}", self.relays.holder(socket=path))
        self.sockets.close(path)

    def _replace_socket(self, action: Action, _pin: Pin | None) -> None:
        """Meanwhile the relay rests; its guest, if it is to come back, connects again."""
        socket = _as(Socket, action.after)
        before = self.sockets.require(socket.path).socket
        self.sockets.check_replace(socket)
        with self._resting(self.relays.holder(socket=socket.path)):
            self.sockets.close(socket.path)
            _set_up_or_put_back(self.sockets.open, socket, before)

    @contextlib.contextmanager
    def _resting(self, holder: LiveRelay | None) -> Iterator[None]:
        """No worker touches the relay meanwhile; afterwards it has the port and guest that are there then."""
        self._unclaimed = True
        if holder:
            self.relays.quiet(holder)
        try:
            yield
        finally:
            if holder:
                self.relays.resume(holder)

    @staticmethod
    def _refuse_in_use(what: str, holder: LiveRelay | None) -> None:
        if holder:
            raise Refused("in-use", f"{what} is held by relay {holder.relay.id}; remove that first")

    def _add_relay(self, action: Action, pin: Pin | None) -> None:
        relay = _as(Relay, action.after)
        if pin is None or pin.relay != relay.id:
            raise Refused("bad-request", f"relay {relay.id} comes without the pin that places it")
        self.relays.add(relay, pin)

    def on_guest_event(self, kind: int, guest: int) -> None:
        """Announces what a vhost callback has said. Runs on the API's thread."""
        path = self.sockets.path_of(guest)
        if path is None:
            return
        self._unclaimed = True
        name = GUEST_EVENTS[kind]
        if kind == at.EVENT_REFUSED:
            reason = self.sockets.refused(path, time.monotonic())
            if reason is None:
                return
            log.warning("whoever was connected to %s is cut off: %s", path, reason)
        else:
            log.info("%s on %s", name, path)
        self._tell(name, f"socket:{path}", self.relays.holder(socket=path))

    def _tell(self, event: str, resource: str, holder: LiveRelay | None) -> None:
        self._announce(event, resource, holder.relay.id if holder else None)

    def housekeeping(self, now: float) -> None:
        """Several times a second: links, captures that nobody reads, how much the workers sleep.
        `now` in monotonic seconds."""
        self.workers.sample(now)
        for cpu in self.workers.brought_back():
            self._announce("worker-moved", f"worker:{cpu}", None)
        for name, device in self.ports.gone():
            self._lose(name, device)
        self.captures.expire(now)
        if self._unclaimed:
            self._claim_descriptors()
        for path in self.sockets.admit(now):
            log.warning("%s lets in guests again", path)
        for attached in self.ports.by_name.values():
            self._look_at_link(attached)
        for path in self.sockets.appeared():
            log.info("a socket has appeared at %s: connecting", path)
            self._reopen(path)
        for path in self.sockets.vanished():
            self._make_again(path)
        if self._context.numa.several:
            for live in self.relays.by_id.values():
                self._follow_guest(live)

    def _look_at_link(self, attached: Attached) -> None:
        name = attached.port.name
        holder = self.relays.holder(port=name)
        if attached.bond and self._members_changed(attached, attached.bond, holder):
            self._tell("members-changed", f"port:{name}", holder)
        if self.ports.look_at_link(attached):
            event = "link-up" if attached.link_up else "link-down"
            log.info("%s on %s", event, name)
            self._tell(event, f"port:{name}", holder)

    def _members_changed(self, attached: Attached, bond: Bond, holder: LiveRelay | None) -> bool:
        """Whether another one is active, or has another link than at the last look."""
        before = bond.to_json()
        if self.ports.bonds.look(bond):
            with self.relays.paused(holder):
                self.ports.join_and_part(attached)
        return bond.to_json() != before

    def _claim_descriptors(self) -> None:
        descriptors.claim()
        self._unclaimed = False

    def _make_again(self, path: str) -> None:
        """The file of a socket was removed. A guest that is connected needs none, and would lose its link."""
        if not self.sockets.connected(self.sockets.require(path)):
            log.warning("%s was removed: making it again", path)
            self._reopen(path)

    def _follow_guest(self, live: LiveRelay) -> None:
        """Takes a relay's packet buffers to the NUMA node of its guest's memory, once for each time that one connects.

        A device of the kernel's stays as it is: it could not be started again, and its packets are copied anyway.
        """
        attached = self.ports.by_name.get(live.relay.port)
        opened = self.sockets.by_path.get(live.relay.socket)
        node = self.sockets.locate(opened) if attached and opened else None
        if not attached or not opened or node is None or attached.follows == (live.relay.socket, *opened.located):
            return
        attached.follows = (live.relay.socket, *opened.located)
        if node == attached.buffers:
            attached.pool = replace(attached.pool, short_of=None)
        elif only_pci(attached.port) and (pool := self.ports.pool_on(attached, node)):
            log.info("relay %d: its buffers follow its guest to node %d", live.relay.id, node)
            self._change_pool(live, attached, pool)

    def _change_pool(self, live: LiveRelay, attached: Attached, pool: Pool) -> None:
        with self._resting(live):
            try:
                self.ports.change_pool(attached, pool)
            except Refused as error:
                log.error("%s", error)

    def _reopen(self, path: str) -> None:
        """A failure closes the socket; whoever compares is told, and observes it."""
        holder = self.relays.holder(socket=path)
        with self._resting(holder):
            try:
                self.sockets.reopen(path)
            except Refused as error:
                log.error("%s", error)
                self._tell("socket-gone", f"socket:{path}", holder)

    def _lose(self, port: str, device: str) -> None:
        """A device was taken: whoever took it waits until it is released. Its relay goes on, with what is left."""
        holder = self.relays.holder(port=port)
        log.warning("%s was taken away from port %s", device, port)
        with self._resting(holder):
            try:
                self.ports.lose(port, device)
            except Refused as error:
                log.error("%s", error)
        self._tell("port-gone", f"port:{port}", holder)

    def observe(self) -> dict[str, Any]:
        """The live state, and under `live` what is measured and never compared."""
        live = self.relays.by_id.values()
        state = State.of(
            [
                self.engine,
                *(Worker(cpu) for cpu in self.workers.by_cpu),
                *(attached.port for attached in self.ports.by_name.values()),
                *(observed(opened) for opened in self.sockets.by_path.values()),
                *(each.relay for each in live),
                *(each.pin for each in live),
            ]
        )
        return {"state": state.to_json(), "live": self._live()}

    def _live(self) -> dict[str, Any]:
        ports = self.ports.by_name
        lost = [each.relay.port for each in self.relays.by_id.values() if each.relay.port not in ports]
        return {
            "ports": {
                **{name: {"present": False, "link": "gone"} for name in lost},
                **{name: self._live_port(attached) for name, attached in ports.items()},
            },
            "captures": self.captures.relays(),
            "sockets": {path: self._live_socket(opened) for path, opened in self.sockets.by_path.items()},
            "workers": {
                str(cpu): {
                    "state": "running",
                    "entries": len(worker.entries),
                    "slept": round(worker.slept, 3),
                    **({"astray": worker.astray} if worker.astray else {}),
                }
                for cpu, worker in self.workers.by_cpu.items()
            },
        }

    def _live_port(self, attached: Attached) -> dict[str, Any]:
        renamed = self.ports.renamed(attached)
        return {
            "present": True,
            "link": "up" if attached.link_up else "down",
            "mac": attached.mac,
            "mtu": attached.mtu,
            "promiscuous": attached.promiscuous,
            "driver": attached.driver,
            "numa": attached.numa,
            **({} if attached.buffers is None else {"buffers": attached.buffers, "short_of": attached.pool.short_of}),
            **({"renamed": renamed} if renamed else {}),
            **({"members": attached.bond.to_json()} if attached.bond else {}),
        }

    def _live_socket(self, opened: OpenSocket) -> dict[str, Any]:
        guest = self.sockets.guest(opened)
        return {
            "guest": guest.vid is not None,
            "reachable": self.sockets.reachable(opened),
            "in_the_way": self.sockets.in_the_way(opened),
            "vid": guest.vid,
            "features": hex(guest.features),
            "migrating": guest.migrating,
            "queues": guest.queues,
            "connects": guest.connects,
            **({"shut": shut} if (shut := opened.refusals.words(time.monotonic())) else {}),
            **({"node": self.sockets.locate(opened)} if self._context.numa.several else {}),
        }

    def counters(self) -> dict[str, Any]:
        return {
            "tsc_hz": self._eal.tsc_hz,
            "now_tsc": self._context.tsc(),
            "relays": counters.relays(self.ports, self.relays),
        }

    def end(self) -> None:
        """Takes everything down in the order that a removal takes, guests connected or not."""
        for relay_id in list(self.relays.by_id):
            self.relays.remove(relay_id)
        for path in list(self.sockets.by_path):
            self._try(self.sockets.close, path)
        for name in list(self.ports.by_name):
            self._try(self.ports.detach, name)
        for cpu in list(self.workers.by_cpu):
            self._try(self.workers.stop, cpu)

    @staticmethod
    def _try(step: Callable[[Any], None], key: object) -> None:
        try:
            step(key)
        except Refused as error:
            log.error("while ending: %s", error)


def _set_up_or_put_back(set_up: Callable[[T], None], after: T, before: T) -> None:
    """Sets up what takes the place of `before`, which has been taken down; where that fails, `before` again.
    Raises Refused."""
    try:
        set_up(after)
    except Refused as reason:
        try:
            set_up(before)
        except Refused as worse:
            raise Refused(reason.code, f"{reason}; and it could not be put back as it was: {worse}") from reason
        raise


def _as(type_: type[T], resource: object) -> T:
    """The resource that this action must carry."""
    if not isinstance(resource, type_):
        raise Refused("bad-request", f"the action carries no {type_.__name__.lower()} where it needs one")
    return resource
