"""An engine carries out what the clients of the commit before ask for, and answers as the engine of then did."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
import zmq

from schema.paths import engine_parameters, engine_socket
from tests.kit.instance import READY_S, Instance
from tests.kit.waiting import wait_for
from tests.upgrade.recorded import HERE, SOCKETS, Exchange, exchanges

ANSWERED_MS = 60_000
COUNTED_AT = 6
"""The generation at which counters and captures were asked for."""
NOBODY = "nobody"
"""The boot id of no engine."""
pytestmark = pytest.mark.skipif(not {0, 1} <= os.sched_getaffinity(0), reason="needs the CPUs 0 and 1")


class Client:
    """Sends what was recorded to an instance's engine."""

    def __init__(self, instance: Instance, connection: zmq.Socket[bytes]) -> None:
        self._instance = instance
        self._connection = connection
        self.boot_id = ""

    def ask(self, request: Mapping[str, Any]) -> Any:
        self._connection.send(json.dumps(self.here(request)).encode())
        assert self._connection.poll(ANSWERED_MS), self._instance.log
        return json.loads(self._connection.recv())

    def here(self, recorded: Mapping[str, Any]) -> dict[str, Any]:
        """The same for the sockets and the engine that are here."""
        text = json.dumps(recorded).replace("/tmp/virtio-forwarder5.sock", f"{SOCKETS}/vm5.sock")
        value: dict[str, Any] = json.loads(text.replace(SOCKETS, str(self._instance.sockets)))
        return {**value, "boot_id": self.boot_id} if value.get("boot_id", "") != NOBODY else value

    def is_ready(self) -> bool:
        hello = self.ask({"op": "hello"})
        self.boot_id = hello["boot_id"]
        return bool(hello["state"] == "ready")

    def check(self, each: Exchange) -> None:
        reply = self.ask(each.request)
        if not each.reply["ok"]:
            assert reply["error"]["code"] == each.reply["error"]["code"]
        elif each.op == "execute":
            assert {**reply, "took_us": 0} == {**each.reply, "took_us": 0}
        elif each.op == "observe":
            recorded = self.here(each.reply)
            assert reply["state"] == recorded["state"]
            assert shape(reply) == shape(recorded)
        else:
            assert shape(reply) == shape(each.reply)


def shape(value: Any) -> Any:
    """Which keys it has, and values of which types. Numbers of a host's devices and of other hosts may differ."""
    if isinstance(value, dict):
        return {key: shape(each) for key, each in value.items()}
    return type(value)


@contextmanager
def connected(instance: Instance) -> Iterator[Client]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    connection = context.socket(zmq.REQ)
    try:
        connection.connect(f"ipc://{engine_socket(instance.run_dir)}")
        yield Client(instance, connection)
    finally:
        context.destroy(linger=0)


def in_order() -> list[Exchange]:
    """What the engine of then was asked once it was ready, each generation's request first, without what others did to
    it meanwhile: guests came."""
    asked: dict[int, list[Exchange]] = {}
    for each in sorted(exchanges(), key=lambda each: each.op != "execute"):
        if each.reply["ok"] and each.op != "hello":
            of_one = asked.setdefault(each.reply.get("generation", COUNTED_AT), [])
            if not any(each.op == other.op == "observe" for other in of_one):
                of_one.append(each)
    stale = [each for each in exchanges("execute") if each.request["boot_id"] == NOBODY]
    return [each for _, of_one in sorted(asked.items()) for each in of_one] + stale


def test_it_does_what_the_clients_of_then_ask_for() -> None:
    with Instance() as instance:
        shutil.copy(HERE / "engine-0.json", engine_parameters(instance.state_dir))
        instance.start("engine")
        wait_for("the engine's socket", lambda: engine_socket(instance.run_dir).exists(), READY_S)
        with connected(instance) as client:
            wait_for("the engine to be ready", client.is_ready, READY_S)
            for each in in_order():
                client.check(each)
