"""The frontends that a spec asks for, opened and closed as it changes. Without any there is no thread and no file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from reconciler.frontends.backend import PortControlBackend, Tickets
from reconciler.frontends.ipc import Ipc
from reconciler.frontends.ovsdb import Ovsdb
from reconciler.frontends.sampler import Sampler
from reconciler.frontends.services import Opening, Services
from reconciler.host.host import Host
from reconciler.observe.engines import Engines
from schema import Spec
from schema.spec import EndpointSpec, IpcSpec, OvsdbSpec
from schema.system.threads import Threads
from schema.wire.listening import Access


class Frontends:
    """`follow` from the loop's thread."""

    def __init__(self, run_dir: Path, state_dir: Path, host: Host, tickets: Tickets, threads: Threads) -> None:
        self._run_dir = run_dir
        self._state_dir = state_dir
        self._host = host
        self._tickets = tickets
        self._threads = threads
        self._spec: Spec | None = None
        self._sampler: Sampler | None = None
        self._services: Services | None = None
        self._wanted: OvsdbSpec | IpcSpec | None = None
        self._watching: Ovsdb | Ipc | None = None
        """The frontend that `_wanted` asks for, if it asks for one."""
        self._unknown: tuple[str, ...] = ()

    @property
    def faults(self) -> tuple[str, ...]:
        """What does not work, each with a sentence."""
        frontends = (self._services, self._watching)
        return (*self._unknown, *(fault for each in frontends if each is not None for fault in each.faults))

    def follow(self, spec: Spec) -> None:
        """Has the frontends of this spec open, and no others."""
        self._spec = spec
        unknown: list[str] = []
        openings = list(self._openings(spec, unknown))
        self._unknown = tuple(unknown)
        if self._services is None and openings:
            self._sampler = Sampler(lambda: Engines(self._run_dir, self._state_dir), self._threads)
            front = lambda: PortControlBackend(self._state_dir, lambda: self._spec)  # noqa: E731 - made on the other thread
            self._services = Services(front, self._tickets, self._sampler, self._threads)
        if self._services is not None:
            self._services.follow(openings)
        self._watch(spec.port_control.ovsdb or spec.port_control.ipc)

    def _watch(self, wanted: OvsdbSpec | IpcSpec | None) -> None:
        if wanted == self._wanted:
            return
        if self._watching is not None:
            self._watching.stop()
        self._wanted, self._watching = wanted, None
        if isinstance(wanted, OvsdbSpec):
            self._watching = Ovsdb(wanted.socket, self._state_dir, self._tickets, self._threads)
        elif wanted is not None:
            self._watching = Ipc(wanted.file, self._state_dir, lambda: self._spec, self._tickets, self._threads)

    def close(self) -> None:
        self._watch(None)
        if self._services is not None:
            self._services.stop()
        if self._sampler is not None:
            self._sampler.stop()
        self._tickets.close()

    def _openings(self, spec: Spec, unknown: list[str]) -> Iterator[Opening]:
        services = spec.services
        named = {
            "port_control": spec.port_control.zmq,
            "stats": services.stats,
            "config": services.config,
            "core_sched": services.core_sched,
        }
        for name, endpoint in named.items():
            if endpoint is not None:
                uid, gid = self._owner(name, endpoint, unknown)
                yield Opening(name, endpoint.endpoint, Access(uid, gid, endpoint.permissions))

    def _owner(self, name: str, endpoint: EndpointSpec, unknown: list[str]) -> tuple[int, int]:
        """Whose the socket file is; ours where there is no such user or group, which is said."""
        uid = self._host.uid_of(endpoint.owner) if endpoint.owner is not None else self._host.uid
        gid = self._host.gid_of(endpoint.group) if endpoint.group is not None else self._host.gid
        if uid is None:
            unknown.append(f"{name}: this host has no user '{endpoint.owner}'; the endpoint stays ours")
        if gid is None:
            unknown.append(f"{name}: this host has no group '{endpoint.group}'; the endpoint stays ours")
        return self._host.uid if uid is None else uid, self._host.gid if gid is None else gid
