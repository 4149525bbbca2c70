"""Endpoints with libzmq's clients on the other side, with what only looks like one, and without descriptors."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from schema.wire import serving
from schema.wire.listening import Access
from schema.wire.serving import Client, Endpoint
from schema.wire.zmtp import answering, publishing
from tests.kit import cleanup
from tests.kit.waiting import wait_for

OURS = Access(os.getuid(), os.getgid(), 0o600)
ANSWER_MS = 10_000


class Echo:
    """An endpoint that repeats what it is told, but `later` only when it is let."""

    def __init__(self, path: Path, manner: str = "ROUTER") -> None:
        self.path = path
        self.endpoint = Endpoint(path, OURS, answering(1000, 5000) if manner == "ROUTER" else publishing())
        self.later: list[Client] = []
        self.events: list[bytes] = []
        self.most = 0
        self._stopping = False
        self._context = zmq.Context()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._stopping:
            for client, frames in self.endpoint.receive():
                if frames[-1] == b"later":
                    self.later.append(client)
                else:
                    client.reply(*[each if isinstance(each, bytes) else b"%d" % each for each in frames])
            self.endpoint.step()
            self.most = max(self.most, len(self.endpoint))
            while self.events:
                self.endpoint.publish(self.events.pop(0))
            time.sleep(0.001)

    def client(self, kind: int = zmq.REQ) -> zmq.Socket[bytes]:
        found = self._context.socket(kind)
        found.setsockopt(zmq.LINGER, 0)
        found.connect(f"ipc://{self.path}")
        return found

    def raw(self) -> socket.socket:
        found = socket.socket(socket.AF_UNIX)
        found.settimeout(5)
        found.connect(str(self.path))
        return found

    def close(self) -> None:
        self._stopping = True
        self._thread.join()
        self.endpoint.close()
        self._context.destroy(linger=0)


@pytest.fixture
def directory() -> Iterator[Path]:
    found = cleanup.short_directory()
    yield found
    shutil.rmtree(found)


@pytest.fixture
def echo(directory: Path) -> Iterator[Echo]:
    found = Echo(directory / "e")
    yield found
    found.close()


def ask(client: zmq.Socket[bytes], said: bytes = b"hello") -> bytes:
    client.send(said)
    assert client.poll(ANSWER_MS), "no answer"
    return client.recv()


def few(monkeypatch: pytest.MonkeyPatch, slots: int) -> None:
    monkeypatch.setattr(serving, "slots", lambda: slots)
    monkeypatch.setattr(serving, "IDLE_S", 0.05)
    monkeypatch.setattr(serving, "SHARE", 1.0)


def test_requests_of_every_length(echo: Echo) -> None:
    client = echo.client()
    for length in (0, 1, 255, 256, 1000):
        assert ask(client, b"x" * length) == b"x" * length
    assert ask(client, b"x" * 1001) == b"1001"


def test_a_dealers_envelope_comes_back(echo: Echo) -> None:
    client = echo.client(zmq.DEALER)
    client.send_multipart([b"a", b"b", b"", b"said"])
    assert client.poll(ANSWER_MS)
    assert client.recv_multipart() == [b"a", b"b", b"", b"said"]


def test_whoever_asks_much_at_once_waits_and_nobody_else_does(echo: Echo) -> None:
    greedy, other = echo.client(zmq.DEALER), echo.client()
    greedy.setsockopt(zmq.SNDHWM, 0)
    for _ in range(20_000):
        greedy.send_multipart([b"", b"later"])
    for _ in range(20):
        assert ask(other) == b"hello"
    assert len(echo.later) == 1


def test_at_the_limit_the_idle_make_room(echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    few(monkeypatch, 8)
    clients = [echo.client() for _ in range(40)]
    for _ in range(2):  # those that had to go come again
        for client in clients:
            assert ask(client) == b"hello"
    assert echo.most <= 8


def test_who_is_owed_a_reply_stays_and_newcomers_wait(echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    few(monkeypatch, 4)
    waiting = [echo.client() for _ in range(4)]
    for client in waiting:
        client.send(b"later")
    wait_for("them to be in", lambda: len(echo.later) == 4)
    newcomer = echo.client()
    newcomer.send(b"hello")
    assert not newcomer.poll(500)
    assert echo.most == 4
    for each in list(echo.later):
        each.reply(b"", b"now")
    assert [client.recv() for client in waiting if client.poll(ANSWER_MS)] == [b"now"] * 4
    assert newcomer.poll(ANSWER_MS)


def test_newcomers_are_let_in_even_when_nobody_is_idle(echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    few(monkeypatch, 4)
    monkeypatch.setattr(serving, "IDLE_S", 60.0)
    busy = [echo.client() for _ in range(4)]
    for _ in range(5):
        assert [ask(client) for client in [*busy, echo.client()]] == [b"hello"] * 5


def test_who_never_reads_makes_room(echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    few(monkeypatch, 4)
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48)
    ready = b"\x04\x1a\x05READY\x0bSocket-Type\x00\x00\x00\x03REQ"
    held = []
    for _ in range(4):
        held.append(echo.raw())
        held[-1].settimeout(0.3)
        with contextlib.suppress(OSError):
            held[-1].sendall(greeting + ready + (b"\x01\x00\x00\xc8" + bytes(200)) * 20_000)
    assert ask(echo.client()) == b"hello"
    for each in held:
        each.close()


def test_one_user_does_not_take_all_places(echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    few(monkeypatch, 8)
    monkeypatch.setattr(serving, "SHARE", 0.5)
    monkeypatch.setattr(serving, "IDLE_S", 60.0)
    monkeypatch.setattr(serving, "user_of", lambda _: 12345)
    held = [echo.raw() for _ in range(10)]
    wait_for("the last of them to be sent away", lambda: len(echo.endpoint) == 4)
    monkeypatch.undo()
    assert ask(echo.client()) == b"hello"
    for each in held:
        each.close()


def test_clients_that_say_nothing_or_half_make_room(echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    few(monkeypatch, 4)
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48)
    held = []
    for said in (b"", b"\xff", greeting, greeting + b"\4\x05\5RE", b"GET / HTTP/1.1\r\n", os.urandom(99)) * 4:
        held.append(echo.raw())
        held[-1].sendall(said)
    for _ in range(5):
        assert ask(echo.client()) == b"hello"
    for each in held:
        each.close()


def test_a_removed_file_is_made_again_and_who_is_connected_stays(echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "LOOK_EVERY_S", 0.05)
    client = echo.client()
    assert ask(client) == b"hello"
    echo.path.unlink()
    wait_for("the file to be there again", echo.path.exists, 10)
    assert ask(echo.client()) == b"hello"
    assert ask(client) == b"hello"
    assert echo.endpoint.fault == ""


def test_a_file_that_can_not_be_made_again_at_once_is_made_later(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Played: the kernel has no room to watch one more descriptor (epoll_ctl(2), ENOSPC)."""
    path = directory / "endpoint"
    endpoint = Endpoint(path, OURS, answering(1000, 5000))
    with contextlib.closing(endpoint):
        path.unlink()
        endpoint._look_at = 0.0
        with monkeypatch.context() as played:
            played.setattr(endpoint, "poller", Full())
            endpoint.step()
        assert "No space left on device" in endpoint.fault
        assert not path.exists()  # nobody is to wait where nobody looks
        endpoint._look_at = 0.0
        endpoint.step()
        assert not endpoint.fault
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            list(endpoint.receive())
            assert len(endpoint) == 1


class Full:
    """In place of an epoll."""

    def register(self, *_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_what_is_put_in_its_place_stays_and_is_said(echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "LOOK_EVERY_S", 0.05)
    client = echo.client()
    assert ask(client) == b"hello"
    aside = echo.path.with_name("aside")
    aside.write_text("not to be lost")
    aside.rename(echo.path)
    wait_for("it to be said", lambda: "there is a file already" in echo.endpoint.fault, 10)
    assert echo.path.read_text() == "not to be lost"
    assert ask(client) == b"hello"
    echo.path.unlink()
    wait_for("the file to be there again", lambda: echo.endpoint.fault == "", 10)
    assert ask(echo.client()) == b"hello"


def test_subscribers_hear_what_they_want_and_slow_ones_miss_some(directory: Path) -> None:
    echo = Echo(directory / "p", "PUB")
    listener, slow = echo.client(zmq.SUB), echo.client(zmq.SUB)
    for each in (listener, slow):
        each.setsockopt(zmq.RCVHWM, 10)
        each.setsockopt(zmq.SUBSCRIBE, b"a")

    def heard() -> bool:
        echo.events += [b"b no", b"a yes"]
        return bool(listener.poll(50))

    wait_for("the subscription", heard)
    for number in range(3000):
        echo.events.append(b"a %d " % number + b"x" * 1000)
    wait_for("them to be sent", lambda: not echo.events, 30)
    said = listener.recv()
    while not said.startswith(b"a 0 "):
        assert said == b"a yes"
        said = listener.recv()
    echo.close()


WITHOUT_DESCRIPTORS = """
import os, resource, socket, sys, time, zmq
from pathlib import Path
from schema.wire import serving
from schema.wire.listening import Access
from schema.wire.serving import Endpoint
from schema.wire.zmtp import answering

serving.slots = lambda: 1000
path = Path(sys.argv[1])
endpoint = Endpoint(path, Access(os.getuid(), os.getgid(), 0o600), answering(1000, 5000))
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
print("there", flush=True)
faults, most, end = set(), 0, time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    for client, frames in endpoint.receive():
        client.reply(*frames)
    endpoint.step()
    faults.add(endpoint.fault)
    most = max(most, len(endpoint))
    time.sleep(0.001)
print(most > 10, sorted(faults))
"""


def test_without_descriptors_clients_wait_and_nothing_ends(directory: Path) -> None:
    path = directory / "e"
    command = [sys.executable, "-c", WITHOUT_DESCRIPTORS, str(path), "5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "there\n"
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        clients = [context.socket(zmq.REQ) for _ in range(100)]
        for client in clients:
            client.setsockopt(zmq.LINGER, 0)
            client.connect(f"ipc://{path}")
            client.send(b"hello")
        answered = sum(bool(client.poll(4000)) for client in clients[:60])
        context.destroy(linger=0)
        said = child.stdout.read()
    assert child.returncode == 0
    assert answered > 10
    assert said.startswith("True "), said
    assert "clients can't be let in: Too many open files; raise the limit of open files" in said
