"""virtio-forwarder's ZeroMQ services: one thread that answers all of them, each request within its client's patience.

Nothing here waits. A change is recorded at once, and its reply goes out when the loop has seen to it, or when
`PATIENCE_S` is over: what is undecided by then is recorded and on its way, which is OK. What failed is taken back
before ERROR is said, so that nothing is left behind.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import zmq
from google.protobuf.message import DecodeError, Message

from reconciler.doors.endpoint import Endpoint, EndpointError, Envelope, Request
from reconciler.doors.exchange import Exchange
from reconciler.doors.portcontrol import Desk, Put, Take, decide, error, ok
from reconciler.doors.readings import config_reply
from reconciler.doors.sampler import Sampler
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

LOG = logging.getLogger("vio4wd.doors")
PATIENCE_S = 1.5
"""Clients wait 2 s; the rest is for a machine that is busy."""
SILENT_S = 60.0
AT_ONCE = 64
"""Requests of one service taken before the others have their turn."""


@dataclass(frozen=True, slots=True)
class Opening:
    """A service that is to be had: where, and whose its socket file is."""

    service: str
    """`port_control`, `stats`, `config` or `core_sched`."""
    address: str
    uid: int
    gid: int
    mode: int


class Front(Protocol):
    """What the services change and look at. Called from their thread only."""

    def desk(self) -> Desk: ...

    def idle_sockets(self) -> tuple[str, ...]:
        """The template's path of each id, where those sockets exist without a relay; else none."""

    def put(self, relay: int, wanted: Mapping[str, Any]) -> str:
        """Records a wish; why that can't be, and then nothing is recorded."""

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

    endpoint: Endpoint
    envelope: Envelope
    ticket: int
    deadline: float
    answer: Callable[[Mapping[int, str]], Message]
    """The reply, given which relays failed, and why."""


class Services:
    """The thread. `follow` says which services are to be had."""

    def __init__(self, front: Callable[[], Front], exchange: Exchange, sampler: Sampler) -> None:
        self._make_front = front
        self._exchange = exchange
        self._sampler = sampler
        self._waiting: list[_Waiting] = []
        self._open: dict[Opening, Endpoint] = {}
        self._wanted: tuple[Opening, ...] = ()
        self._faults: tuple[str, ...] = ()
        self._silent_until: dict[str, float] = {}
        self._poke = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="doors", daemon=True)
        self._thread.start()

    @property
    def faults(self) -> tuple[str, ...]:
        """Endpoints that can't be opened, each with a sentence."""
        return self._faults

    def follow(self, openings: Iterable[Opening]) -> None:
        """Opens and closes services so that these are there. May be called from any thread."""
        wanted = tuple(openings)
        if wanted != self._wanted:
            self._wanted = wanted
            os.eventfd_write(self._poke, 1)

    def stop(self) -> None:
        self._stopping = True
        os.eventfd_write(self._poke, 1)
        self._thread.join()

    # ---- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._front = self._make_front()
        poller = zmq.Poller()
        for source in (self._poke, self._exchange, self._sampler):
            poller.register(source, zmq.POLLIN)
        while not self._stopping:
            self._reopen(poller)
            poller.poll(self._idle_ms())
            self._hear()
            for opening, endpoint in self._open.items():
                self._serve(opening, endpoint)
            self._conclude(time.monotonic())
            self._sampler.step(time.monotonic())
        for endpoint in self._open.values():
            endpoint.close()
        self._front.close()
        self._context.destroy(linger=0)
        os.close(self._poke)

    def _reopen(self, poller: zmq.Poller) -> None:
        wanted = self._wanted
        if set(self._open) == set(wanted):
            return
        for opening in self._open.keys() - set(wanted):
            endpoint = self._open.pop(opening)
            self._waiting = [each for each in self._waiting if each.endpoint is not endpoint]
            poller.unregister(endpoint.socket)
            endpoint.close()
            LOG.info("%s is not served any more on %s", opening.service, opening.address)
        faults = []
        for opening in [each for each in wanted if each not in self._open]:
            try:
                found = Endpoint(self._context, opening.address, opening.uid, opening.gid, opening.mode)
            except EndpointError as problem:
                faults.append(f"{opening.service}: {problem}")
                continue
            self._open[opening] = found
            poller.register(found.socket, zmq.POLLIN)
            LOG.info("%s is served on %s", opening.service, opening.address)
        if tuple(faults) != self._faults:
            self._faults = tuple(faults)
            for fault in faults:
                LOG.error("%s", fault)

    def _idle_ms(self) -> int:
        """Until the next thing is due; a second where an endpoint is to be tried again."""
        due = [each.deadline for each in self._waiting]
        if (sample := self._sampler.due) is not None:
            due.append(sample)
        if self._faults:
            due.append(time.monotonic() + 1.0)
        return max(0, int((min(due) - time.monotonic()) * 1000) + 1) if due else 60_000

    def _hear(self) -> None:
        self._exchange.heard()
        try:
            os.eventfd_read(self._poke)
        except BlockingIOError:
            return

    def _serve(self, opening: Opening, endpoint: Endpoint) -> None:
        for _ in range(AT_ONCE):
            request = endpoint.receive()
            if request is None:
                return
            try:
                self._answer(opening.service, endpoint, request)
            except Exception:  # one request must not end the service; its client gets an answer all the same
                LOG.exception("%s: a request could not be carried out", opening.service)
                endpoint.reply(request.envelope, _garbage(opening.service))

    def _answer(self, service: str, endpoint: Endpoint, request: Request) -> None:
        message = _parsed(service, request.payload)
        if message is None:
            self._say_garbage(service, time.monotonic())
            endpoint.reply(request.envelope, _garbage(service))
        elif isinstance(message, PortControlRequest):
            self._change(endpoint, request.envelope, message)
        elif isinstance(message, StatsRequest):
            self._sampler.stats(endpoint, request.envelope, message, self._front.idle_sockets())
        elif isinstance(message, CoreSchedRequest):
            self._core_sched(endpoint, request.envelope, message)
        else:
            pins = self._front.pins()
            reply = endpoint.reply
            self._sampler.once(
                lambda snapshot: reply(request.envelope, config_reply(snapshot, pins).SerializeToString())
            )

    def _say_garbage(self, service: str, now: float) -> None:
        """Now and then: whoever sends garbage must not fill the log as well."""
        if now >= self._silent_until.get(service, now):
            self._silent_until[service] = now + SILENT_S
            LOG.warning("%s: a request is none, and is answered so; others like it are not told of", service)

    def _change(self, endpoint: Endpoint, envelope: Envelope, request: PortControlRequest) -> None:
        decision = decide(request, self._front.desk())
        if isinstance(decision, PortControlResponse):
            endpoint.reply(envelope, decision.SerializeToString())
            return
        relay = decision.relay
        against = self._front.put(relay, decision.wanted) if isinstance(decision, Put) else self._front.take(relay)
        if against:
            endpoint.reply(envelope, error(errno.EIO, decision.source, against).SerializeToString())
            return
        LOG.info("port control: %s", _words(decision))
        self._wait(endpoint, envelope, lambda failed: self._settled(decision, failed))

    def _wait(self, endpoint: Endpoint, envelope: Envelope, answer: Callable[[Mapping[int, str]], Message]) -> None:
        """Has the loop see to what was recorded just now, and replies then."""
        deadline = time.monotonic() + PATIENCE_S
        self._waiting.append(_Waiting(endpoint, envelope, self._exchange.ask(), deadline, answer))

    def _conclude(self, now: float) -> None:
        """Replies to whom the loop has seen to, and to whom can't wait any longer."""
        settled = self._exchange.latest()
        left = []
        for each in self._waiting:
            if each.ticket <= settled.ticket:
                each.endpoint.reply(each.envelope, each.answer(settled.failed).SerializeToString())
            elif now >= each.deadline:
                each.endpoint.reply(each.envelope, each.answer({}).SerializeToString())
            else:
                left.append(each)
        self._waiting = left

    def _settled(self, asked: Put | Take, failed: Mapping[int, str]) -> PortControlResponse:
        if isinstance(asked, Take) or asked.relay not in failed:
            return ok()
        self._front.take(asked.relay)
        self._exchange.ask()
        LOG.warning("port control: relay %d is taken back: %s", asked.relay, failed[asked.relay])
        return error(errno.EIO, asked.source, failed[asked.relay])

    def _core_sched(self, endpoint: Endpoint, envelope: Envelope, request: CoreSchedRequest) -> None:
        done = CoreSchedResponse(status=CoreSchedResponse.OK)
        if request.op == CoreSchedRequest.GET_EAL_CORES:
            done.eal_cores.extend(self._front.workers())
            endpoint.reply(envelope, done.SerializeToString())
            return
        pins = {each.relay_number: (each.vf2virtio_cpu, each.virtio2vf_cpu) for each in request.relay_cpu_map}
        against = self._front.pin(pins) if pins else "no relay is named"
        if against:
            source = f"migrate_relay_cpus(): {against}"
            refused = CoreSchedResponse(
                status=CoreSchedResponse.ERROR, error_code=errno.EINVAL, error_code_source=source
            )
            endpoint.reply(envelope, refused.SerializeToString())
            return
        self._wait(endpoint, envelope, lambda _: done)


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


def _words(decision: Put | Take) -> str:
    if isinstance(decision, Take):
        return f"relay {decision.relay} is wanted no more"
    return f"relay {decision.relay} is wanted as {decision.wanted}"
