"""Asks an engine: the client's end of docs/engine-api.md.

Every request has a time-out, and an engine that dies while it is asked is noticed at once, not when the time is over:
ZeroMQ reconnects silently, so the socket is probed beside it.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import zmq
from zmq.utils.monitor import recv_monitor_message

from engine.api.live import Limits, Live
from schema.model import Action, Key, Kind, Pin, State
from schema.paths import engine_events, engine_socket
from schema.system.typed_json import decoded

T = TypeVar("T")
READ_TIMEOUT_S = 3.0
EXECUTE_TIMEOUT_S = 60.0
"""Some drivers need seconds to attach a port (mlx5, firmware loads); a minute is certainly a fault."""
PROBE_EVERY_MS = 200


class EngineUnavailable(Exception):  # noqa: N818 - a state of the engine rather than an error of its own
    """No engine answers. The text says where it was looked for and what to do."""


class EngineSilent(EngineUnavailable):
    """An engine is there, but it does not answer in time: what is live on it can't be known."""


class EngineError(Exception):
    """The engine refused a request: `code` is one of docs/engine-api.md, `message` a sentence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Hello:
    """Who answers."""

    version: str
    dpdk: str
    shard: int
    boot_id: str
    generation: int
    pid: int
    memory: str
    state: str
    limits: Mapping[str, int]
    """As it was sent."""

    @property
    def has_room_for(self) -> Limits:
        """The limits, as far as this release knows them. Raises EngineError."""
        return _read(Limits, self.limits)


@dataclass(frozen=True, slots=True)
class Observation:
    """What is live on an engine, and the moment (boot id and generation) for which that holds."""

    boot_id: str
    generation: int
    state: State
    live: Live = field(default_factory=Live)


class EngineClient:
    """A client of one engine; not to be shared between threads. Use as a context manager, or `close` it."""

    def __init__(
        self,
        run_dir: Path,
        shard: int = 0,
        read_timeout_s: float = READ_TIMEOUT_S,
        execute_timeout_s: float = EXECUTE_TIMEOUT_S,
    ) -> None:
        self.run_dir = run_dir
        self.shard = shard
        self.path = engine_socket(run_dir, shard)
        self._read_timeout_s = read_timeout_s
        self._execute_timeout_s = execute_timeout_s
        # One for the process: libzmq ends one that has no descriptors left for another.
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        self._socket: zmq.Socket[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; a second call does nothing."""
        self._drop()

    def hello(self) -> Hello:
        """Who answers. Raises EngineUnavailable; answered even while the engine is still starting."""
        reply = self._ask({"op": "hello"}, self._read_timeout_s)
        names = ("version", "dpdk", "shard", "boot_id", "generation", "pid", "memory", "state", "limits")
        return Hello(**{name: self._field(reply, name) for name in names})

    def observe(self) -> Observation:
        """What is live. Raises EngineUnavailable, or EngineError (`not-ready` while the engine starts)."""
        reply = self._ask({"op": "observe"}, self._read_timeout_s)
        live = _read(Live, reply.get("live", {}))
        return Observation(
            boot_id=self._field(reply, "boot_id"),
            generation=self._field(reply, "generation"),
            state=replace(State.from_json(self._field(reply, "state")), nodes=_guest_nodes(live)),
            live=live,
        )

    def execute(self, action: Action, boot_id: str, generation: int, pin: Pin | None = None) -> tuple[int, int]:
        """Carries out one action: the new generation, and how long it took in microseconds.

        Raises EngineError when the engine refused (nothing is changed then), EngineUnavailable when no answer came:
        then it is not known whether the action was carried out, and only observing tells.
        """
        request: dict[str, Any] = {
            "op": "execute",
            "boot_id": boot_id,
            "generation": generation,
            "action": action.to_json(),
        }
        if pin is not None:
            request["pin"] = {"relay": pin.relay, "vf_to_vm": pin.vf_to_vm, "vm_to_vf": pin.vm_to_vf}
        reply = self._ask(request, self._execute_timeout_s)
        return int(self._field(reply, "generation")), int(reply.get("took_us", 0))

    def counters(self) -> dict[str, Any]:
        """Counters since each relay was added, as docs/engine-api.md has them."""
        reply = self._ask({"op": "counters"}, self._read_timeout_s)
        return {name: self._field(reply, name) for name in ("tsc_hz", "now_tsc", "relays")}

    def start_capture(self, relay: int, direction: str, snaplen: int) -> int:
        """Begins to capture: the number by which it is read. Raises EngineError (`unknown`, `in-use`, `limit`)."""
        request = {"op": "capture-start", "relay": relay, "direction": direction, "snaplen": snaplen}
        return int(self._field(self._ask(request, self._execute_timeout_s), "capture"))

    def read_capture(self, number: int) -> dict[str, Any]:
        """What was captured since the last read, as docs/engine-api.md has it; EngineError `unknown`: it has ended."""
        reply = self._ask({"op": "capture-read", "capture": number}, self._read_timeout_s)
        return {name: self._field(reply, name) for name in ("now_tsc", "now_ns", "tsc_hz", "ended", "directions")}

    def stop_capture(self, number: int) -> None:
        """Ends a capture. Raises EngineError (`unknown`: it has ended already)."""
        self._ask({"op": "capture-stop", "capture": number}, self._execute_timeout_s)

    def events(self) -> EventStream:
        """What happens from now on. The stream outlives an engine and finds the next one by itself; to be closed.
        Raises EngineUnavailable while this process has no descriptors left."""
        return EventStream(self._context, engine_events(self.run_dir, self.shard))

    def _field(self, reply: Mapping[str, Any], name: str) -> Any:
        if name not in reply:
            raise EngineError("bad-reply", f"the engine's answer lacks '{name}'; it may be of another release")
        return reply[name]

    def _ask(self, request: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        self._probe()
        connection = self._connected()
        try:
            connection.send(json.dumps(request).encode())
            raw = self._answer(connection, timeout_s)
        except BaseException:  # Ctrl-C too: the next question is none for a connection that owes an answer
            self._drop()
            raise
        try:
            reply = json.loads(raw)
            refused = not reply["ok"]
        except (ValueError, TypeError, KeyError) as error:
            raise EngineError("bad-reply", f"the engine at {self.path} did not answer in JSON") from error
        if refused:
            fault = reply.get("error") or {}
            raise EngineError(str(fault.get("code", "failed")), str(fault.get("message", "the engine gave no reason")))
        return dict(reply)

    def _answer(self, connection: zmq.Socket[bytes], timeout_s: float) -> bytes:
        deadline = time.monotonic() + timeout_s
        while not connection.poll(PROBE_EVERY_MS):
            if time.monotonic() > deadline:
                raise EngineSilent(
                    f"the engine at {self.path} did not answer within {timeout_s:g} s; is it stopped or overloaded?"
                )
            self._probe()
        return connection.recv()

    def _probe(self) -> None:
        """Raises EngineUnavailable unless somebody listens on the engine's socket."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                probe.settimeout(1.0)
                probe.connect(str(self.path))
        except OSError as error:
            self._drop()
            raise EngineUnavailable(
                f"no engine answers at {self.path} ({error.strerror or error}); "
                "start one with: vio4wd run FILE, or: vio4wd engine"
            ) from error

    def _connected(self) -> zmq.Socket[bytes]:
        if self._socket is None:
            self._socket = _connection(self._context, zmq.REQ, self.path)
        return self._socket

    def _drop(self) -> None:
        """A REQ socket that waits for an answer that never comes can not be used again."""
        if self._socket is not None:
            self._socket.close(linger=0)
            self._socket = None


class EventStream:
    """An engine's events, and its comings and goings. Poll `sources`, then `drain`."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], path: Path) -> None:
        self._socket = _connection(context, zmq.SUB, None)
        try:
            self._socket.setsockopt(zmq.SUBSCRIBE, b"")
            self._monitor = self._socket.get_monitor_socket(zmq.EVENT_CONNECTED | zmq.EVENT_DISCONNECTED)
        except zmq.ZMQError as error:
            self._socket.close(linger=0)
            raise _exhausted(error) from error
        self._socket.connect(f"ipc://{path}")

    @property
    def sources(self) -> tuple[zmq.Socket[bytes], ...]:
        """What to register with a `zmq.Poller`."""
        return (self._socket, self._monitor)

    def drain(self) -> list[dict[str, Any]]:
        """Everything that came since the last call, without waiting. An engine that appears or goes gives
        `{"event": "connected"}` or `{"event": "disconnected"}`, from this end."""
        happened: list[dict[str, Any]] = []
        while self._monitor.poll(0):
            gone = recv_monitor_message(self._monitor)["event"] == zmq.EVENT_DISCONNECTED
            happened.append({"event": "disconnected" if gone else "connected"})
        while self._socket.poll(0):
            event = _event(self._socket.recv())
            if event is not None:
                happened.append(event)
        return happened

    def close(self) -> None:
        self._socket.disable_monitor()
        self._socket.close(linger=0)


def _connection(context: zmq.Context[zmq.Socket[bytes]], kind: int, path: Path | None) -> zmq.Socket[bytes]:
    """Raises EngineUnavailable."""
    try:
        made = context.socket(kind)
    except zmq.ZMQError as error:
        raise _exhausted(error) from error
    made.setsockopt(zmq.LINGER, 0)
    if path is not None:
        made.connect(f"ipc://{path}")
    return made


def _exhausted(error: zmq.ZMQError) -> EngineUnavailable:
    return EngineUnavailable(f"this process can not ask the engine ({error}); raise its limit of open files")


def _event(raw: bytes) -> dict[str, Any] | None:
    """Events are hints: one that can not be read is one less."""
    try:
        event = json.loads(raw)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None


def _read(kind: type[T], value: object) -> T:
    try:
        return decoded(kind, value)
    except (TypeError, ValueError) as error:
        raise EngineError(
            "bad-reply", f"the engine's answer can't be read ({error}); it may be of another release"
        ) from error


def _guest_nodes(live: Live) -> dict[tuple[Kind, Key], int]:
    """On which NUMA node each connected guest's memory is, where an engine tells several apart."""
    return {(Kind.SOCKET, path): each.node for path, each in live.sockets.items() if each.node is not None}
