"""The engine's client on the real wire: no silence is waited for longer than it says, and no dead engine at all."""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from engine.api.client import EngineClient, EngineError, EngineUnavailable
from engine.api.live import LivePort, LiveSocket
from reconciler.planning.plan import plan
from schema.model import State
from schema.paths import engine_socket
from tests.kit.fakes.fake_engine import FakeEngine, Served
from tests.kit.relay_states import state


@pytest.fixture
def run_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="v4-") as name:
        yield Path(name)


def test_asks_and_tells(run_dir: Path) -> None:
    engine = FakeEngine.of(state(1))
    with Served(engine, run_dir), EngineClient(run_dir) as client:
        hello, seen = client.hello(), client.observe()
        assert (hello.boot_id, hello.state) == (seen.boot_id, "ready")
        assert seen.state == state(1)
        assert set(client.counters()["relays"]) == {"1"}
        todo = plan(State(), seen.state)
        generation, _ = client.execute(todo.actions[0], seen.boot_id, seen.generation)
        assert generation == 1
        with pytest.raises(EngineError) as stale:
            client.execute(todo.actions[1], seen.boot_id, seen.generation)
        assert stale.value.code == "stale"


def test_what_an_engine_of_another_release_leaves_out_adds_or_says_otherwise(run_dir: Path) -> None:
    engine = FakeEngine.of(state(1))
    with Served(engine, run_dir), EngineClient(run_dir) as client:
        engine.measured = {"ports": {"p": {"link": "up", "colour": "green"}}, "weather": "fine"}
        live = client.observe().live
        assert (live.ports, live.socket("/t"), live.workers) == ({"p": LivePort(link="up")}, LiveSocket(), {})
        engine.measured = {"ports": {"p": {"link": 7}}}
        with pytest.raises(EngineError, match="may be of another release"):
            client.observe()


def test_no_engine(run_dir: Path) -> None:
    with EngineClient(run_dir) as client, pytest.raises(EngineUnavailable, match="start one with"):
        client.hello()


def test_an_engine_that_dies_and_comes_back(run_dir: Path) -> None:
    with EngineClient(run_dir) as client:
        with Served(FakeEngine(boot_id="a"), run_dir):
            assert client.hello().boot_id == "a"
        with pytest.raises(EngineUnavailable):
            client.hello()
        with Served(FakeEngine(boot_id="b"), run_dir):
            assert client.hello().boot_id == "b"


def test_a_silent_engine_is_given_up_and_the_client_still_good(run_dir: Path) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    router = context.socket(zmq.ROUTER)
    router.bind(f"ipc://{engine_socket(run_dir)}")
    try:
        with EngineClient(run_dir, read_timeout_s=0.3) as client:
            for _ in range(2):
                with pytest.raises(EngineUnavailable, match="did not answer"):
                    client.hello()
    finally:
        context.destroy(linger=0)


@pytest.mark.parametrize("answer", [b"nonsense", b"[]", b"{}", b'{"ok": true}', json.dumps({"ok": False}).encode()])
def test_nonsense_is_an_error_not_a_crash(run_dir: Path, answer: bytes) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    router = context.socket(zmq.REP)
    router.bind(f"ipc://{engine_socket(run_dir)}")
    try:
        thread = threading.Thread(target=lambda: (router.recv(), router.send(answer)))
        thread.start()
        with EngineClient(run_dir) as client, pytest.raises(EngineError):
            client.hello()
        thread.join()
    finally:
        context.destroy(linger=0)


def test_events_and_comings_and_goings(run_dir: Path) -> None:
    with EngineClient(run_dir) as client:
        events = client.events()
        happened: list[str] = []

        def until(event: str, say: Served | None = None) -> None:
            deadline = time.monotonic() + 20
            while event not in happened:
                assert time.monotonic() < deadline, happened
                if say is not None:
                    say.say(event)
                time.sleep(0.02)
                happened.extend(e["event"] for e in events.drain())

        with Served(FakeEngine(), run_dir) as served:
            until("connected")
            until("guest-connected", served)
        until("disconnected")
        events.close()
