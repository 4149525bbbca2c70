"""The engine's API: a thread that answers reads at once and hands changes to the main thread, one after the other."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import zmq

from engine.fault import Refused
from schema.paths import engine_events, engine_socket

log = logging.getLogger("vio4wd.engine")
MAX_REQUEST_BYTES = 64 * 1024
MAX_RECEIVED_BYTES = 16 * MAX_REQUEST_BYTES
"""What is longer is not received and its sender cut off; up to here it is told why."""
POLL_MS = 500
CHANGES = ("execute", "capture-start", "capture-stop")
"""Carried out by the main thread, one after the other."""
READS = ("hello", "observe", "counters", "capture-read")


class Reader(Protocol):
    """What may be asked at any time, from any thread."""

    def hello(self) -> dict[str, Any]: ...
    def ready(self) -> bool: ...
    def observe(self) -> dict[str, Any]: ...
    def counters(self) -> dict[str, Any]: ...
    def capture_read(self, request: Mapping[str, Any]) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Change:
    """A request that the main thread carries out and answers with `reply`."""

    request: Mapping[str, Any]
    reply: Callable[[dict[str, Any]], None]


def error(code: str, message: str) -> dict[str, Any]:
    return {"ok": False, "error": {"code": code, "message": message}}


class Server:
    """Owns the two ZeroMQ sockets; everything that they send is sent by its thread."""

    def __init__(self, run_dir: Path, shard: int, reader: Reader) -> None:
        self._reader = reader
        self.changes: queue.SimpleQueue[Change | None] = queue.SimpleQueue()
        self._paths = [engine_socket(run_dir, shard), engine_events(run_dir, shard)]
        self._outbox: deque[tuple[bytes | None, dict[str, Any]]] = deque()
        """Replies with the client that they are for, events with None."""
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._stop = False
        self._watched: dict[int, Callable[[], None]] = {}
        self._context = zmq.Context()
        self._requests = self._bind(zmq.ROUTER, self._paths[0])
        self._events = self._bind(zmq.PUB, self._paths[1])
        self._thread = threading.Thread(target=self._serve, name="vio4wd-api", daemon=True)

    def _bind(self, kind: int, path: Path) -> zmq.Socket[bytes]:
        path.unlink(missing_ok=True)
        bound = self._context.socket(kind)
        bound.setsockopt(zmq.LINGER, 200)
        bound.setsockopt(zmq.MAXMSGSIZE, MAX_RECEIVED_BYTES)  # holds for what is bound after it
        bound.bind(f"ipc://{path}")
        return bound

    def start(self) -> None:
        self._thread.start()

    def watch(self, fd: int, readable: Callable[[], None]) -> None:
        """Calls `readable` on the API's thread when the descriptor is; before or after `start`."""
        self._watched = {**self._watched, fd: readable}
        self._ring()

    def announce(self, event: str, resource: str, relay: int | None) -> None:
        """Publishes an event; from any thread."""
        message = {"event": event, "resource": resource, "relay": relay, "time": time.time()}
        self._outbox.append((None, message))
        self._ring()

    def _ring(self) -> None:
        os.eventfd_write(self._wake, 1)

    def stop(self) -> None:
        """Sends what is due, closes and removes the sockets."""
        self._stop = True
        self._ring()
        self._thread.join()
        self._requests.close()
        self._events.close()
        self._context.term()
        for path in self._paths:
            path.unlink(missing_ok=True)

    def _serve(self) -> None:
        while not self._stop:
            poller = zmq.Poller()
            for source in (self._requests, self._wake, *self._watched):
                poller.register(source, zmq.POLLIN)
            ready = dict(poller.poll(POLL_MS))
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._wake)
            if self._requests in ready:
                self._take_request()
            for fd, readable in self._watched.items():
                if fd in ready:
                    self._tell(readable)
            self._send_due()
        self._send_due()

    @staticmethod
    def _tell(readable: Callable[[], None]) -> None:
        """What is watched is not the API's own: its fault must not end the API."""
        try:
            readable()
        except Exception:
            log.exception("an event could not be dealt with")

    def _send_due(self) -> None:
        while self._outbox:
            client, message = self._outbox.popleft()
            frame = json.dumps(message).encode()
            if client is None:
                self._events.send(frame)
            else:
                self._requests.send_multipart([client, b"", frame])

    def _take_request(self) -> None:
        frames = self._requests.recv_multipart()
        client, body = frames[0], frames[-1]

        def reply(message: dict[str, Any]) -> None:
            self._outbox.append((client, message))
            self._ring()

        if len(body) > MAX_REQUEST_BYTES:
            reply(error("bad-request", f"the request is {len(body)} bytes long; at most {MAX_REQUEST_BYTES} are read"))
            return
        try:
            request = json.loads(body)
            self._answer(request, reply)
        except (ValueError, RecursionError):
            reply(error("bad-request", "the request is not JSON"))
        except Exception:
            log.exception("a request could not be answered")
            reply(error("failed", "the engine could not answer this; its log says why"))

    def _answer(self, request: object, reply: Callable[[dict[str, Any]], None]) -> None:
        op = request.get("op") if isinstance(request, dict) else None
        if op == "hello":
            reply({"ok": True, **self._reader.hello()})
        elif op not in (*READS, *CHANGES):
            reply(error("bad-request", f"op must be one of {', '.join((*READS, *CHANGES))}"))
        elif not self._reader.ready():
            reply(error("not-ready", "the engine is not ready: it starts or stops; ask again"))
        elif op in CHANGES:
            assert isinstance(request, dict)
            self.changes.put(Change(request, reply))
        else:
            assert isinstance(request, dict)
            reply(self._read(op, request))

    def _read(self, op: object, request: Mapping[str, Any]) -> dict[str, Any]:
        try:
            if op == "capture-read":
                return {"ok": True, **self._reader.capture_read(request)}
        except Refused as reason:
            return error(reason.code, str(reason))
        return {"ok": True, **(self._reader.observe() if op == "observe" else self._reader.counters())}
