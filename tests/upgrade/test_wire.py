"""An engine of the commit before serves a watch of today, and an engine of today understands the clients of then."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import zmq

from engine.api.client import EngineClient, EngineError
from engine.api.fault import Refused
from engine.api.server import CHANGES, Change, Server
from reconciler.frontends.replies import EngineCounts, stats_reply
from reconciler.legacy.virtioforwarder_pb2 import StatsRequest
from reconciler.observe.engines import Engines
from reconciler.observe.rates import together
from schema.model import Action, Pin, State
from schema.paths import engine_socket
from state import history, relay_requests
from state.applied import current_pending
from state.relay_requests import put
from state.store import Store
from tests.kit.fakes.fake_engine import FakeEngine, Served
from tests.kit.fakes.watch_harness import WatchHarness
from tests.upgrade.recorded import (
    FIRST,
    HERE,
    SECOND,
    Exchange,
    Replay,
    events,
    exchanges,
    observation,
    state_directory,
)


@pytest.fixture
def directory() -> Iterator[Path]:
    """Short, because a socket's path is."""
    with tempfile.TemporaryDirectory(prefix="v4-") as name:
        yield Path(name)


class Scripted:
    """Answers requests with these replies, whatever they are."""

    def __init__(self, *replies: Mapping[str, Any]) -> None:
        self.replies = list(replies)
        self.asked: list[Mapping[str, Any]] = []

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self.asked.append(request)
        return dict(self.replies.pop(0))


def repeated(client: EngineClient, each: Exchange) -> Any:
    """What the client makes of a recorded answer, asked for the same again."""
    request = each.request
    match each.op:
        case "execute":
            pin = Pin(**request["pin"]) if "pin" in request else None
            action = Action.from_json(request["action"])
            return client.execute(action, request["boot_id"], request["generation"], pin)
        case "capture-start":
            return client.start_capture(request["relay"], request["direction"], request["snaplen"])
        case "capture-read":
            return client.read_capture(request["capture"])
        case "capture-stop":
            return client.stop_capture(request["capture"])
        case op:
            return getattr(client, op)()


def carries(read: Any, sent: Any) -> None:
    """Everything that was sent was read; what was left out may have got a default."""
    if isinstance(sent, dict):
        for key, value in sent.items():
            carries(read[key], value)
    else:
        assert read == sent


def test_each_request_is_as_it_was_and_each_answer_is_read(directory: Path) -> None:
    recorded = exchanges()
    engine = Scripted(*(each.reply for each in recorded))
    made: list[Any] = []
    with Served(engine, directory), EngineClient(directory) as client:  # type: ignore[arg-type]
        for each in recorded:
            if each.reply["ok"]:
                made.append((each, repeated(client, each)))
                continue
            with pytest.raises(EngineError) as refused:
                repeated(client, each)
            assert each.reply["error"] == {"code": refused.value.code, "message": refused.value.message}
    assert engine.asked == [each.request for each in recorded]
    for each, got in made:
        match each.op:
            case "hello" | "observe":
                facts = {name: getattr(got, name) for name in each.reply.keys() - {"ok", "state", "live"}}
                assert facts == {name: each.reply[name] for name in facts}
                state = got.state if each.op == "hello" else got.state.to_json()
                assert json.loads(json.dumps(state)) == each.reply["state"]
                if each.op == "observe":
                    carries(json.loads(json.dumps(asdict(got.live))), each.reply["live"])
            case "execute":
                assert got == (each.reply["generation"], each.reply["took_us"])
            case "counters" | "capture-read":
                assert got == {name: value for name, value in each.reply.items() if name != "ok"}
    assert len(made) == len(recorded) - 3, "three were refused"


def test_counters_become_statistics(directory: Path) -> None:
    with Served(Replay(25), directory), Engines(directory, directory / "s") as engines:  # type: ignore[arg-type]
        counts = EngineCounts(0.0, engines.observe(), together(engines.counters()))
        reply = stats_reply(StatsRequest(), None, counts, ())
    (counted,) = exchanges("counters")
    received = {str(each.id): each.vf_to_vm.pkts_rx_from_vf for each in reply.relay}
    assert {relay: packets for relay, packets in received.items() if packets} == {
        relay: each["vf_to_vm"]["rx_packets"] for relay, each in counted.reply["relays"].items()
    }


def test_events_are_heard(directory: Path) -> None:
    heard: list[Mapping[str, Any]] = []
    with (
        Served(FakeEngine(), directory) as served,
        EngineClient(directory) as client,
        closing(client.events()) as stream,
    ):
        poller = zmq.Poller()
        for source in stream.sources:
            poller.register(source, zmq.POLLIN)
        while not any(event["event"] == "connected" for event in heard):
            assert poller.poll(20_000)
            heard += stream.drain()
        while not [event for event in heard if event["event"] == "hello"]:  # until the subscription has come through
            served.say("hello")
            poller.poll(50)
            heard += stream.drain()
        served._say += [dict(event) for event in events()]
        while not [event for event in heard if event["event"] == "guest-disconnected"]:
            assert poller.poll(20_000)
            heard += stream.drain()
    assert [event for event in heard if event["event"] not in ("connected", "hello")] == events()


# ---- an engine of then, a watch of today -----------------------------------------------------------------------------


@pytest.fixture
def started(directory: Path) -> Iterator[WatchHarness]:
    """A watch of the first spec, that is not started yet."""
    made = WatchHarness(directory, directory / "vio4wd.yaml")
    made.file.write_text(spec(FIRST))
    try:
        yield made
    finally:
        made.stop()


def spec(sha256: str) -> str:
    with tempfile.TemporaryDirectory() as name, closing(Store(state_directory(Path(name, "s")))) as store:
        return history.spec_text(store, sha256)


def test_a_watch_has_it_do_what_the_watch_of_then_had_it_do(started: WatchHarness) -> None:
    """Each request is one that the recorded watch sent to an engine of this generation, or it is refused."""
    engine = Replay()
    with Served(engine, started.run_dir) as served:  # type: ignore[arg-type]
        started.start()
        started.until("the first spec", lambda: engine.generation == 6)
        started.file.write_text(spec(SECOND))
        started.until("the second spec", lambda: engine.generation == 14)
        with closing(Store(started.directory / "state")) as store:
            put(store, "port-control", 5, {"vf": "net_null5"})
        assert started.watch is not None
        started.watch.read_anew()
        started.until("the relay of port control", lambda: engine.generation == 17)
        started.until("that all is well", lambda: not started.report.get("waiting"))
        served._say += [dict(event) for event in events()]
        started.stop()
    assert engine.refused == []


def test_a_watch_finds_the_state_of_then_and_an_engine_that_runs(started: WatchHarness) -> None:
    """Whoever held the rollback, the pending apply and the requests of others back then: it goes on as it was meant."""
    state = state_directory(started.directory / "state", str(started.file))
    (state / "paused.json").unlink()
    started.file.write_text(spec(SECOND))
    with closing(Store(state)) as store:
        store.run(lambda c: c.execute("DELETE FROM binding"))  # a host that runs this may have such functions
    known = observation(25)
    live = State.from_json(known["state"])
    started.engine = FakeEngine.of(live, boot_id=known["boot_id"], generation=known["generation"])
    with Served(started.engine, started.run_dir):
        started.start()
        started.until_relays(1, 2, 5, 6)
        with closing(Store(state)) as store:
            started.until("the end of what was pending", lambda: current_pending(store) is None)
            assert relay_requests.kept_pins(store) == {5: (1, 0)}, "not in force: the spec has no worker on CPU 0"
        started.stop()
    assert {action.resource for action in started.engine.executed} == {
        "port:net_null6",
        "socket:/tmp/virtio-forwarder6.sock",
        "relay:6",
    }
    assert {id_: started.engine.state.relays[id_] for id_ in live.relays} == live.relays
    assert started.report["in_force"]["sha256"] == SECOND
    assert "the host was started again before it was confirmed" in started.report["instead"]


# ---- clients of then, an engine of today -----------------------------------------------------------------------------


class Answers:
    """What an engine says of itself, as it was recorded."""

    def hello(self) -> dict[str, Any]:
        return {name: value for name, value in exchanges("hello")[-1].reply.items() if name != "ok"}

    def ready(self) -> bool:
        return True

    def observe(self) -> dict[str, Any]:
        return {name: value for name, value in observation(25).items() if name != "ok"}

    def counters(self) -> dict[str, Any]:
        return {name: value for name, value in exchanges("counters")[0].reply.items() if name != "ok"}

    def capture_read(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if request["capture"] != exchanges("capture-read")[0].request["capture"]:
            raise Refused("unknown", "no such capture")
        return {}


def test_the_server_takes_each_request_of_then(directory: Path) -> None:
    server = Server(directory, 0, Answers())
    server.start()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        client = context.socket(zmq.REQ)
        client.connect(f"ipc://{engine_socket(directory)}")
        for each in exchanges():
            client.send(json.dumps(each.request).encode())
            if each.op in CHANGES:
                change = server.changes.get(timeout=20.0)
                assert isinstance(change, Change)
                assert change.request == each.request
                change.reply(dict(each.reply))
            assert client.poll(20_000)
            reply = json.loads(client.recv())
            assert reply == each.reply or (reply["ok"] and each.op not in CHANGES)
    finally:
        context.destroy(linger=0)
        server.stop()


def test_an_action_of_then_is_one_of_today() -> None:
    actions = [each.request["action"] for each in exchanges("execute")]
    assert [json.loads(json.dumps(Action.from_json(action).to_json())) for action in actions] == actions


def test_what_is_recorded_names_no_machine() -> None:
    for path in sorted(HERE.glob("*.*")):
        assert "/work" + "/" not in path.read_text(), path
