"""The engine's API over the real ZeroMQ wire, with a reader that no engine stands behind."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import zmq

from engine.api.fault import Refused
from engine.api.server import MAX_REQUEST_BYTES, Change, Server
from schema.paths import engine_events, engine_socket
from tests.kit import cleanup
from tests.kit.waiting import wait_for

ANSWER_MS = 10_000


class Reader:
    """Answers with constants; `broken` makes its reads fail."""

    def __init__(self) -> None:
        self.is_ready = True
        self.broken = False

    def hello(self) -> dict[str, Any]:
        return {"version": "0", "state": "ready" if self.is_ready else "starting"}

    def ready(self) -> bool:
        return self.is_ready

    def observe(self) -> dict[str, Any]:
        if self.broken:
            raise ValueError("broken on purpose")
        return {"boot_id": "b", "generation": 3}

    def counters(self) -> dict[str, Any]:
        return {"relays": {}}

    def capture_read(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if request.get("capture") != 1:
            raise Refused("unknown", "there is no such capture here")
        return {"ended": False}


class Wire:
    """A server and whoever speaks to it."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.reader = Reader()
        self.server = Server(run_dir, 0, self.reader)
        self.context = zmq.Context()

    def client(self, kind: int = zmq.REQ) -> zmq.Socket[bytes]:
        return self._connected(kind, engine_socket(self.run_dir))

    def subscriber(self) -> zmq.Socket[bytes]:
        found = self._connected(zmq.SUB, engine_events(self.run_dir))
        found.setsockopt(zmq.SUBSCRIBE, b"")
        return found

    def _connected(self, kind: int, path: Path) -> zmq.Socket[bytes]:
        client = self.context.socket(kind)
        client.setsockopt(zmq.LINGER, 0)
        client.connect(f"ipc://{path}")
        return client

    def ask(self, request: object) -> Any:
        return self.say(json.dumps(request).encode())

    def say(self, body: bytes) -> Any:
        client = self.client()
        client.send(body)
        return answer(client)

    def change(self) -> Change:
        """The next change that the main thread is to carry out."""
        found = self.server.changes.get(timeout=ANSWER_MS / 1000)
        assert found is not None
        return found

    def close(self) -> None:
        self.server.stop()
        self.context.destroy(linger=0)


def answer(client: zmq.Socket[bytes]) -> Any:
    assert client.poll(ANSWER_MS), "the server did not answer"
    return json.loads(client.recv_multipart()[-1])


def code(reply: Any) -> str:
    """The error's code, of an error that is told in a sentence."""
    assert reply["ok"] is False
    assert len(reply["error"]["message"].split()) > 3
    return str(reply["error"]["code"])


@pytest.fixture
def wire() -> Iterator[Wire]:
    run_dir = cleanup.short_directory()
    wire = Wire(run_dir)
    wire.server.start()
    yield wire
    wire.close()
    assert list(run_dir.iterdir()) == [], "the sockets stayed"
    run_dir.rmdir()


def test_reads_are_answered(wire: Wire) -> None:
    assert wire.ask({"op": "hello"}) == {"ok": True, "version": "0", "state": "ready"}
    assert wire.ask({"op": "observe"}) == {"ok": True, "boot_id": "b", "generation": 3}
    assert wire.ask({"op": "counters"}) == {"ok": True, "relays": {}}
    assert wire.ask({"op": "capture-read", "capture": 1}) == {"ok": True, "ended": False}


def test_a_read_can_be_refused(wire: Wire) -> None:
    assert code(wire.ask({"op": "capture-read", "capture": 2})) == "unknown"


@pytest.mark.parametrize("op", ["execute", "capture-start", "capture-stop"])
def test_changes_go_to_the_main_thread(op: str, wire: Wire) -> None:
    client = wire.client()
    client.send(json.dumps({"op": op}).encode())
    change = wire.change()
    assert change.request == {"op": op}
    change.reply({"ok": True, "generation": 1})
    assert answer(client)["ok"]


GARBAGE = {
    "nothing": b"",
    "no text": b"\xff\xfe\x00",
    "half": b'{"op": "hel',
    "two": b'{"op": "hello"} {"op": "hello"}',
    "a list": b"[]",
    "a word": b'"hello"',
    "a number": b"1" * 10_000,
    "null": b"null",
    "no op": b"{}",
    "an unknown op": b'{"op": "reboot"}',
    "an op that is a list": b'{"op": ["hello"]}',
    "an op that is an object": b'{"op": {"op": "hello"}}',
    "deep": b"[" * 50_000,
    "half a surrogate": b'{"op": "\\ud800"}',
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_is_refused_in_a_sentence(name: str, wire: Wire) -> None:
    assert code(wire.say(GARBAGE[name])) == "bad-request"
    assert wire.ask({"op": "hello"})["ok"]


def test_a_request_of_the_greatest_size_is_read(wire: Wire) -> None:
    body = b'{"op": "hello"}'
    assert wire.say(body.ljust(MAX_REQUEST_BYTES))["ok"]


@pytest.mark.parametrize("size", [MAX_REQUEST_BYTES + 1, 4 * MAX_REQUEST_BYTES])
def test_a_request_that_is_too_long_is_refused(size: int, wire: Wire) -> None:
    reply = wire.say(b'{"op": "hello"}'.ljust(size))
    assert code(reply) == "bad-request"
    assert str(MAX_REQUEST_BYTES) in reply["error"]["message"]
    assert wire.ask({"op": "hello"})["ok"]


def test_what_is_far_too_long_is_not_even_received(wire: Wire) -> None:
    """The sender is cut off; everybody else goes on."""
    client = wire.client()
    client.send(bytes(64 * 1024 * 1024))
    assert wire.ask({"op": "hello"})["ok"]
    assert not client.poll(300)


def test_frames_beside_the_request_do_no_harm(wire: Wire) -> None:
    client = wire.client(zmq.DEALER)
    for frames in ([b'{"op": "hello"}'], [b"", b'{"op": "hello"}'], [b"", b"a", b"b", b'{"op": "hello"}'], [b""]):
        client.send_multipart(frames)
        assert answer(client)["ok"] == (frames != [b""])


def test_bytes_that_are_no_zeromq_do_no_harm(wire: Wire) -> None:
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(str(engine_socket(wire.run_dir)))
        raw.sendall(os.urandom(4096))
        assert wire.ask({"op": "hello"})["ok"]


@pytest.mark.parametrize("op", ["observe", "counters", "execute"])
def test_before_it_is_ready_only_hello_is_answered(op: str, wire: Wire) -> None:
    wire.reader.is_ready = False
    assert code(wire.ask({"op": op})) == "not-ready"
    assert wire.ask({"op": "hello"})["state"] == "starting"
    assert wire.server.changes.empty()


def test_a_read_that_fails_is_said_and_the_next_one_works(wire: Wire) -> None:
    wire.reader.broken = True
    assert code(wire.ask({"op": "observe"})) == "failed"
    wire.reader.broken = False
    assert wire.ask({"op": "observe"})["ok"]


def test_reads_are_answered_while_a_change_runs(wire: Wire) -> None:
    changer = wire.client()
    changer.send(b'{"op": "execute", "generation": 3}')
    change = wire.change()  # as the main thread does; it now works on it
    for _ in range(20):
        assert wire.ask({"op": "observe"})["ok"]
    assert not changer.poll(0)
    change.reply({"ok": True, "generation": 4})
    assert answer(changer) == {"ok": True, "generation": 4}


def test_changes_wait_for_each_other_in_their_order(wire: Wire) -> None:
    client = wire.client(zmq.DEALER)
    for number in range(10):
        client.send_multipart([b"", json.dumps({"op": "execute", "generation": number}).encode()])
    for number in range(10):
        change = wire.change()
        assert change.request["generation"] == number
        change.reply({"ok": True, "generation": number})
    assert [answer(client)["generation"] for _ in range(10)] == list(range(10))


def test_each_client_gets_its_own_answer(wire: Wire) -> None:
    clients = [wire.client() for _ in range(8)]
    for number, client in enumerate(clients):
        client.send(json.dumps({"op": "execute", "generation": number}).encode())
    for change in [wire.change() for _ in clients]:
        change.reply({"ok": True, "for": change.request["generation"]})
    assert [answer(client)["for"] for client in clients] == list(range(8))


def test_a_client_that_is_gone_before_its_reply_does_no_harm(wire: Wire) -> None:
    client = wire.client()
    client.send(b'{"op": "execute"}')
    change = wire.change()
    client.close(linger=0)
    change.reply({"ok": True})
    assert wire.ask({"op": "hello"})["ok"]


def test_a_client_that_never_reads_does_no_harm(wire: Wire) -> None:
    client = wire.client(zmq.DEALER)
    client.setsockopt(zmq.SNDTIMEO, 500)
    with contextlib.suppress(zmq.Again):  # its replies fill what is kept for it, and then it is it that waits
        for _ in range(10_000):
            client.send_multipart([b"", b'{"op": "observe"}'])
    assert wire.ask({"op": "hello"})["ok"]


def test_a_client_that_asks_many_things_at_once_gets_every_answer(wire: Wire) -> None:
    client = wire.client(zmq.DEALER)
    client.setsockopt(zmq.SNDHWM, 0)
    for _ in range(2000):
        client.send_multipart([b"", b'{"op": "observe"}'])
    assert all(answer(client)["ok"] for _ in range(2000))


def test_events_are_published_in_their_order(wire: Wire) -> None:
    listener = wire.subscriber()
    subscribed(wire, listener)
    threads = [threading.Thread(target=announce, args=(wire, each)) for each in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events = [answer(listener) for _ in range(30)]
    for each in range(3):
        assert [event["event"] for event in events if event["relay"] == each] == [f"e{index}" for index in range(10)]
    assert {event["resource"] for event in events} == {"socket:/v"}
    assert all(event["time"] > 0 for event in events)


def announce(wire: Wire, relay: int) -> None:
    for index in range(10):
        wire.server.announce(f"e{index}", "socket:/v", relay)


def subscribed(wire: Wire, listener: zmq.Socket[bytes]) -> None:
    """Returns when events reach the listener: a subscription takes a moment, and what came before is not kept."""

    def heard() -> bool:
        wire.server.announce("probe", "engine:0", None)
        return bool(listener.poll(50))

    wait_for("the subscription", heard)
    wire.server.announce("last", "engine:0", None)
    while answer(listener)["event"] != "last":
        pass


def test_a_watched_descriptor_is_read_on_the_servers_thread(wire: Wire) -> None:
    names: list[str] = []
    bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    wire.server.watch(bell, rings(bell, names))
    for count in range(1, 4):
        os.eventfd_write(bell, 1)
        wait_for("the bell to be heard", lambda count=count: len(names) >= count)  # type: ignore[misc]
    assert set(names) == {"vio4wd-api"}


def rings(bell: int, names: list[str]) -> Callable[[], None]:
    def heard() -> None:
        os.eventfd_read(bell)
        names.append(threading.current_thread().name)

    return heard


def test_a_watcher_that_fails_does_not_end_the_server(wire: Wire) -> None:
    bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fail() -> None:
        os.eventfd_read(bell)
        raise RuntimeError("broken on purpose")

    wire.server.watch(bell, fail)
    os.eventfd_write(bell, 1)
    assert wire.ask({"op": "hello"})["ok"]
    assert wire.ask({"op": "hello"})["ok"]


def test_the_sockets_of_a_dead_engine_are_replaced() -> None:
    run_dir = cleanup.short_directory()
    for path in (engine_socket(run_dir), engine_events(run_dir)):
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
    wire = Wire(run_dir)
    wire.server.start()
    assert wire.ask({"op": "hello"})["ok"]
    assert stat.S_ISSOCK(engine_socket(run_dir).stat().st_mode)
    wire.close()
    assert list(run_dir.iterdir()) == []
    run_dir.rmdir()


def test_what_is_due_is_sent_before_it_stops(wire: Wire) -> None:
    client = wire.client()
    client.send(b'{"op": "execute"}')
    wire.change().reply({"ok": True, "last": True})
    wire.server.stop()
    assert answer(client) == {"ok": True, "last": True}
    wire.server = Server(wire.run_dir, 0, wire.reader)  # the fixture stops it
    wire.server.start()
