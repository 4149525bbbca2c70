"""The engine's API: a thread that answers reads at once and hands changes to the main thread, one after the other."""

from __future__ import annotations

import json
import logging
import os
import queue
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from engine.api.fault import Refused
from schema.paths import engine_events, engine_socket
from schema.wire.descriptors import Wakeup
from schema.wire.listening import Access
from schema.wire.serving import Client, Endpoint
from schema.wire.zmtp import Frame, answering, publishing

log = logging.getLogger("vio4wd.engine")
MAX_REQUEST_BYTES = 64 * 1024
MAX_RECEIVED_BYTES = 16 * MAX_REQUEST_BYTES
"""What is longer is not received and its sender cut off; up to here it is told why."""
PRIVATE = 0o600
POLL_MS = 500
AFTER_FAULT_S = 0.5
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
    """Owns the two endpoints, which only the engine's own user may connect to; its thread alone uses them."""

    def __init__(self, run_dir: Path, shard: int, reader: Reader) -> None:
        self._reader = reader
        self.changes: queue.SimpleQueue[Change | None] = queue.SimpleQueue()
        self._outbox: deque[tuple[Client | None, dict[str, Any]]] = deque()
        """Replies with the client that they are for, events with None."""
        self._wake = Wakeup()
        self._stop = False
        self._watched: dict[int, Callable[[], None]] = {}
        ours = Access(os.geteuid(), os.getegid(), PRIVATE)
        manner = answering(MAX_REQUEST_BYTES, MAX_RECEIVED_BYTES)
        self._requests = Endpoint(engine_socket(run_dir, shard), ours, manner)
        self._events = Endpoint(engine_events(run_dir, shard), ours, publishing())
        self._thread = threading.Thread(target=self._serve, name="vio4wd-api", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def watch(self, fd: int, readable: Callable[[], None]) -> None:
        """Calls `readable` on the API's thread when the descriptor is; before or after `start`."""
        self._watched = {**self._watched, fd: readable}
        self._wake.rouse()

    def announce(self, event: str, resource: str, relay: int | None) -> None:
        """Publishes an event; from any thread."""
        message = {"event": event, "resource": resource, "relay": relay, "time": time.time()}
        self._outbox.append((None, message))
        self._wake.rouse()

    def stop(self) -> None:
        """Sends what is due, closes and removes the sockets."""
        self._stop = True
        self._wake.rouse()
        self._thread.join()
        self._requests.close()
        self._events.close()

    def _serve(self) -> None:
        while not self._stop:
            try:
                self._turn()
            except Exception:  # without this thread nobody could steer the engine any more
                log.exception("the engine's API could not do something")
                time.sleep(AFTER_FAULT_S)
        self._send_due()

    def _turn(self) -> None:
        watched = self._watched
        poller = select.poll()
        for source in (self._requests.fileno(), self._events.fileno(), self._wake.fileno(), *watched):
            poller.register(source, select.POLLIN)
        ready = {descriptor for descriptor, _ in poller.poll(POLL_MS)}
        self._wake.taken()
        for endpoint in (self._requests, self._events):
            endpoint.step()
        for client, frames in self._requests.receive():
            self._take_request(client, frames)
        for _ in self._events.receive():
            pass  # subscriptions are noted there
        for descriptor in ready & watched.keys():
            self._tell(watched[descriptor])
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
                self._events.publish(frame)
            else:
                client.reply(b"", frame)

    def _take_request(self, client: Client, frames: tuple[Frame, ...]) -> None:
        body = frames[-1]

        def reply(message: dict[str, Any]) -> None:
            self._outbox.append((client, message))
            self._wake.rouse()

        if isinstance(body, int):
            reply(error("bad-request", f"the request is {body} bytes long; at most {MAX_REQUEST_BYTES} are read"))
            return
        try:
            request = json.loads(body)
        except (ValueError, RecursionError):
            reply(error("bad-request", "the request is not JSON"))
            return
        try:
            self._answer(request, reply)
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
