"""The old ZeroMQ services over real sockets, in front of a loop that only completes what was asked."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from reconciler.frontends.backend import Tickets
from reconciler.frontends.port_control import OWNER, ClaimedRelay, RelayTable
from reconciler.frontends.sampler import Sampler
from reconciler.frontends.services import Front, Opening, Services
from reconciler.legacy.clients.wire import Service
from reconciler.legacy.virtioforwarder_pb2 import (
    PortControlRequest,
    PortControlResponse,
)
from reconciler.observe.engines import Engines
from schema.rules import claims
from schema.wire.listening import Access
from tests.kit.waiting import wait_for

NAMES = ("port_control", "stats", "config", "core_sched")


ADDRESS = PortControlRequest.PciAddress(domain=0, bus=5, slot=8, function=1)


class MadeUpFront:
    """Requests in memory."""

    def __init__(self) -> None:
        self.wanted: dict[int, dict[str, Any]] = {}
        self.cpus: dict[int, tuple[int, int]] = {}

    def relays(self) -> RelayTable:
        claimed = {id_: self._claimed(id_, request) for id_, request in self.wanted.items()}
        return RelayTable(claimed, tuple(f"/t/{id_}" for id_ in range(64)), dynamic=True)

    @staticmethod
    def _claimed(id_: int, request: Mapping[str, Any]) -> ClaimedRelay:
        bond = request.get("bond")
        own = {claims.bond(bond["name"]), *map(claims.vf, bond["members"])} if bond else {claims.vf(request["vf"])}
        path = claims.socket(request.get("socket", f"/t/{id_}"))
        return ClaimedRelay(id_, OWNER, bond["name"] if bond else request["vf"], frozenset({path, *own}))

    def idle_sockets(self) -> tuple[str, ...]:
        return tuple(f"/t/{id_}" for id_ in range(64))

    def put(self, relay: int, wanted: Mapping[str, Any]) -> str:
        self.wanted[relay] = dict(wanted)
        return ""

    def take(self, relay: int) -> str:
        self.wanted.pop(relay, None)
        return ""

    def workers(self) -> tuple[int, ...]:
        return (1, 2)

    def pins(self) -> Mapping[int, tuple[int, int]]:
        return self.cpus

    def pin(self, cpus: Mapping[int, tuple[int, int]]) -> str:
        self.cpus |= cpus
        return "" if 9 not in cpus else "relay 9 is wanted by nobody"

    def close(self) -> None: ...


class ServicesHarness:
    """The services in a directory of their own, and the loop that settles what they record."""

    def __init__(self, directory: Path, make_front: Callable[[], Front] | None = None) -> None:
        self.directory = directory
        self.front = MadeUpFront()
        self.failed: dict[int, str] = {}
        self.settling = True
        self.exchange = Tickets(self._settle)
        self.sampler = Sampler(lambda: Engines(directory / "run", directory / "state"))
        self.services = Services(make_front or (lambda: self.front), self.exchange, self.sampler)
        self.services.follow(self.openings())
        wait_for("the endpoints", lambda: all(self.path(name).exists() for name in NAMES), 10)

    def openings(self, *names: str) -> list[Opening]:
        return [Opening(n, f"ipc://{self.path(n)}", Access(os.getuid(), os.getgid(), 0o640)) for n in names or NAMES]

    def path(self, name: str) -> Path:
        return self.directory / "deep" / "er" / name

    def _settle(self) -> None:
        if self.settling:
            threading.Timer(0.02, lambda: self.exchange.complete(self.exchange.asked(), self.failed)).start()

    def ask(self, name: str, request: Any, reply: Any) -> Any:
        with Service(f"ipc://{self.path(name)}") as service:
            return service.ask(request, reply)

    def add(self, relay: int = 3, **given: Any) -> PortControlResponse:
        request = PortControlRequest(op=PortControlRequest.ADD, pci_addrs=[ADDRESS], virtio_id=relay, **given)
        reply: PortControlResponse = self.ask("port_control", request, PortControlResponse())
        return reply

    def close(self) -> None:
        self.services.stop()
        self.sampler.stop()
        time.sleep(0.05)  # a timer of the loop's may still be on its way
        self.exchange.close()
