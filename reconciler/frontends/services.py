"""virtio-forwarder's ZeroMQ services: one thread that answers all of them, each request within its client's patience.

Nothing here waits. A change is recorded at once, and its reply goes out when the loop has seen to it, or when
`PATIENCE_S` is over: what is undecided by then is recorded and on its way, which is OK. What failed is taken back
before ERROR is said, so that nothing is left behind.
"""

from __future__ import annotations

import errno
import logging
import select
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from google.protobuf.message import DecodeError, Message

from reconciler.frontends.backend import Tickets
from reconciler.frontends.endpoint import Request, opened, requests
from reconciler.frontends.port_control import AddRelay, RelayTable, RemoveRelay, decide, error, ok
from reconciler.frontends.replies import config_reply
from reconciler.frontends.sampler import Sampler
from reconciler.legacy.virtioforwarder_pb2 import (
    ConfigRequest,
    ConfigResponse,
    CoreSchedRequest,
    CoreSchedResponse,
    PortControlRequest,
    PortControlResponse,
    StatsRequest,
    StatsResponse,
)
from schema.system.threads import Threads
from schema.wire.descriptors import Wakeup
from schema.wire.listening import Access, EndpointError
from schema.wire.serving import Endpoint

LOG = logging.getLogger("vio4wd.frontends")
PATIENCE_S = 1.5
"""Clients wait 2 s; the rest is for a machine that is busy."""
SILENT_S = 60.0
AGAIN_S = 1.0
"""When an endpoint that could not be opened is tried again."""


@dataclass(frozen=True, slots=True)
class Opening:
    """A service that is to be open: where, and whose its socket file is."""

    service: str
    """`port_control`, `stats`, `config` or `core_sched`."""
    address: str
    access: Access


class Front(Protocol):
    """What the services change and look at. Called from their thread only."""

    def relays(self) -> RelayTable: ...

    def idle_sockets(self) -> tuple[str, ...]:
        """The template's path of each id, where those sockets exist without a relay; else none."""

    def put(self, relay: int, wanted: Mapping[str, Any]) -> str:
        """Records a request; why that can't be, and then nothing is recorded."""

    def take(self, relay: int) -> str:
        """Records that it is wanted no more; as `put`."""

    def workers(self) -> tuple[int, ...]:
        """The worker CPUs."""

    def pins(self) -> Mapping[int, tuple[int, int]]:
        """The CPUs that are wanted, VF to VM first, of the relays for which somebody says so."""

    def pin(self, cpus: Mapping[int, tuple[int, int]]) -> str:
        """Records CPUs by relay; what stands against it, and then nothing is recorded."""

    def close(self) -> None: ...


@dataclass(slots=True)
class _Waiting:
    """A change whose reply is not sent yet."""

    service: str
    request: Request
    ticket: int
    deadline: float
    answer: Callable[[Mapping[int, str]], Message]
    """The reply, given which relays failed, and why."""


class Services:
    """The thread. `follow` says which services are to be open."""

    def __init__(
        self, front: Callable[[], Front], tickets: Tickets, sampler: Sampler, threads: Threads | None = None
    ) -> None:
        self._make_front = front
        self._tickets = tickets
        self._sampler = sampler
        self._waiting: list[_Waiting] = []
        self._open: dict[Opening, Endpoint] = {}
        self._wanted: tuple[Opening, ...] = ()
        self._refused: dict[Opening, str] = {}
        """Endpoints that can't be opened, and why."""
        self._again_at = 0.0
        self._faults: tuple[str, ...] = ()
        self._silent_until: dict[str, float] = {}
        self._poke = Wakeup()
        self._stopping = False
        self._threads = threads or Threads()
        self._thread = self._threads.start("the thread of the ZeroMQ services", self._run, tickets.rouse)

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong with endpoints, each with a sentence."""
        return self._faults

    def follow(self, openings: Iterable[Opening]) -> None:
        """Opens and closes services so that these are there. May be called from any thread."""
        wanted = tuple(openings)
        if wanted != self._wanted:
            self._wanted = wanted
            self._poke.rouse()

    def stop(self) -> None:
        self._threads.forget(self._thread)
        self._thread.stop()
        self._stopping = True
        self._poke.rouse()
        self._thread.join()
        self._poke.close()

    # ---- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        self._front = self._make_front()
        try:
            while not self._stopping:
                self._turn()
        finally:
            for endpoint in self._open.values():
                endpoint.close()
            self._open.clear()
            self._front.close()

    def _turn(self) -> None:
        """Waits for something to do, and does some of it for each service."""
        self._reopen(time.monotonic())
        poller = select.poll()
        own = (self._poke.fileno(), self._tickets.fileno(), self._sampler.fileno())
        for descriptor in (*own, *(endpoint.fileno() for endpoint in self._open.values())):
            poller.register(descriptor, select.POLLIN)
        poller.poll(self._idle_ms(time.monotonic()))
        self._hear()
        for opening, endpoint in self._open.items():
            self._serve(opening, endpoint)
        self._conclude(time.monotonic())
        self._sampler.step(time.monotonic())
        self._tell()

    def _reopen(self, now: float) -> None:
        wanted = self._wanted
        for opening in self._open.keys() - set(wanted):
            self._open.pop(opening).close()
            LOG.info("%s is not served any more on %s", opening.service, opening.address)
        missing = [each for each in wanted if each not in self._open]
        self._refused = {opening: why for opening, why in self._refused.items() if opening in missing}
        if now < self._again_at and all(each in self._refused for each in missing):
            return
        for opening in missing:
            try:
                self._open[opening] = opened(opening.address, opening.access)
                self._refused.pop(opening, None)
                LOG.info("%s is served on %s", opening.service, opening.address)
            except EndpointError as problem:
                self._refused[opening] = str(problem)
        self._again_at = now + AGAIN_S

    def _tell(self) -> None:
        """Says what is new among what is wrong."""
        shut = [f"{opening.service}: {why}" for opening, why in self._refused.items()]
        ill = [f"{opening.service}: {each.fault}" for opening, each in self._open.items() if each.fault]
        faults = tuple(sorted([*shut, *ill]))
        if faults == self._faults:
            return
        for fault in shut:
            if fault not in self._faults:
                LOG.error("%s", fault)
        self._faults = faults
        self._tickets.rouse()

    def _idle_ms(self, now: float) -> int:
        """Until the next thing is due."""
        due = [each.deadline for each in self._waiting] + [each.due() for each in self._open.values()]
        if (sample := self._sampler.due) is not None:
            due.append(sample)
        if self._refused:
            due.append(self._again_at)
        return max(0, int((min(due) - now) * 1000) + 1) if due else 60_000

    def _hear(self) -> None:
        self._tickets.heard()
        self._poke.taken()

    def _serve(self, opening: Opening, endpoint: Endpoint) -> None:
        endpoint.step()
        for request in requests(endpoint):
            try:
                self._answer(opening.service, request)
            except Exception:  # one request must not end the service; its client gets an answer all the same
                LOG.exception("%s: a request could not be carried out", opening.service)
                request.reply(_garbage(opening.service))

    def _answer(self, service: str, request: Request) -> None:
        message = _parsed(service, request.payload)
        if message is None:
            self._say_garbage(service, time.monotonic())
            request.reply(_garbage(service))
        elif isinstance(message, PortControlRequest):
            self._change(request, message)
        elif isinstance(message, StatsRequest):
            self._sampler.stats(request, message, self._front.idle_sockets())
        elif isinstance(message, CoreSchedRequest):
            self._core_sched(request, message)
        else:
            pins = self._front.pins()
            self._sampler.once(request, lambda snapshot: config_reply(snapshot, pins).SerializeToString())

    def _say_garbage(self, service: str, now: float) -> None:
        """Now and then: whoever sends garbage must not fill the log as well."""
        if now >= self._silent_until.get(service, now):
            self._silent_until[service] = now + SILENT_S
            LOG.warning("%s: a request is none, and is answered so; others like it are not told of", service)

    def _change(self, request: Request, asked: PortControlRequest) -> None:
        decision = decide(asked, self._front.relays())
        if isinstance(decision, PortControlResponse):
            request.reply(decision.SerializeToString())
            return
        relay = decision.relay
        against = self._front.put(relay, decision.wanted) if isinstance(decision, AddRelay) else self._front.take(relay)
        if against:
            request.reply(error(errno.EIO, decision.source, against).SerializeToString())
            return
        LOG.info("port control: %s", _words(decision))
        self._wait("port_control", request, lambda failed: self._ending(decision, failed))

    def _wait(self, service: str, request: Request, answer: Callable[[Mapping[int, str]], Message]) -> None:
        """Has the loop see to what was recorded just now, and replies then."""
        deadline = time.monotonic() + PATIENCE_S
        self._waiting.append(_Waiting(service, request, self._tickets.ask(), deadline, answer))

    def _conclude(self, now: float) -> None:
        """Replies to whom the loop has seen to, and to whom can't wait any longer."""
        completed = self._tickets.latest()
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if each.ticket <= completed.ticket:
                self._finish(each, completed.failed)
            elif now >= each.deadline:
                self._finish(each, {})
            else:
                self._waiting.append(each)

    def _finish(self, each: _Waiting, failed: Mapping[int, str]) -> None:
        try:
            each.request.reply(each.answer(failed).SerializeToString())
        except Exception:  # as in `_serve`
            LOG.exception("a change could not be answered")
            each.request.reply(_garbage(each.service))

    def _ending(self, asked: AddRelay | RemoveRelay, failed: Mapping[int, str]) -> PortControlResponse:
        if isinstance(asked, RemoveRelay) or asked.relay not in failed:
            return ok()
        self._front.take(asked.relay)
        self._tickets.ask()
        LOG.warning("port control: relay %d is taken back: %s", asked.relay, failed[asked.relay])
        return error(errno.EIO, asked.source, failed[asked.relay])

    def _core_sched(self, request: Request, asked: CoreSchedRequest) -> None:
        done = CoreSchedResponse(status=CoreSchedResponse.OK)
        if asked.op == CoreSchedRequest.GET_EAL_CORES:
            done.eal_cores.extend(self._front.workers())
            request.reply(done.SerializeToString())
            return
        pins = {each.relay_number: (each.vf2virtio_cpu, each.virtio2vf_cpu) for each in asked.relay_cpu_map}
        against = self._front.pin(pins) if pins else "no relay is named"
        if against:
            source = f"migrate_relay_cpus(): {against}"
            refused = CoreSchedResponse(
                status=CoreSchedResponse.ERROR, error_code=errno.EINVAL, error_code_source=source
            )
            request.reply(refused.SerializeToString())
            return
        self._wait("core_sched", request, lambda _: done)


_REQUESTS: Mapping[str, type[Message]] = {
    "port_control": PortControlRequest,
    "stats": StatsRequest,
    "config": ConfigRequest,
    "core_sched": CoreSchedRequest,
}


def _parsed(service: str, payload: bytes | None) -> Message | None:
    """The request; None when it is none."""
    message = _REQUESTS[service]()
    try:
        if payload is None:
            return None
        message.ParseFromString(payload)
    except DecodeError:
        return None
    # A string that is not UTF-8 is handed over as bytes, and no message has a field of these.
    sound = message.IsInitialized() and not any(isinstance(value, bytes) for _, value in message.ListFields())
    return message if sound else None


def _garbage(service: str) -> bytes:
    """What is answered to what is no request."""
    replies: Mapping[str, Message] = {
        "port_control": PortControlResponse(status=PortControlResponse.ERROR),
        "stats": StatsResponse(status=StatsResponse.EBADR),
        "config": ConfigResponse(status=ConfigResponse.EBADR),
        "core_sched": CoreSchedResponse(status=CoreSchedResponse.ERROR),
    }
    return replies[service].SerializeToString()


def _words(decision: AddRelay | RemoveRelay) -> str:
    if isinstance(decision, RemoveRelay):
        return f"relay {decision.relay} is wanted no more"
    return f"relay {decision.relay} is wanted as {decision.wanted}"
