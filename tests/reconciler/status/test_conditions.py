"""What status says of a relay that forwards, and on which something is wrong all the same."""

from __future__ import annotations

from typing import Any

from engine.api.client import Observation
from engine.api.live import Live
from reconciler.observe.engines import HostSnapshot
from reconciler.status.conditions import relay_statuses
from schema.model import Pin, Port, Relay, Socket, State, Worker
from schema.system.typed_json import decoded

STATE = State.of([Worker(1), Port("net_null1"), Socket("/tmp/1"), Relay(1, "net_null1", "/tmp/1"), Pin(1, 1, 1)])


def status(port: dict[str, Any], worker: dict[str, Any]) -> tuple[str, str]:
    live = {
        "ports": {"net_null1": {"present": True, "link": "up", **port}},
        "sockets": {"/tmp/1": {"guest": True}},
        "workers": {"1": worker},
    }
    [found] = relay_statuses(HostSnapshot({0: Observation("b", 1, STATE, decoded(Live, live))}), None)
    return str(found.condition), found.message


def test_an_interface_that_is_renamed_is_a_condition() -> None:
    assert status({}, {}) == ("Ready", "")
    condition, message = status({"renamed": {"v1": "w1"}}, {})
    assert condition == "Degraded"
    assert message == (
        "the network interface v1 is called w1 now: it goes on being polled, but would not be found again; rename it "
        "back (ip link set w1 name v1), or name w1 in the spec"
    )


def test_a_worker_that_is_kept_from_its_cpu_is_a_condition() -> None:
    astray = "the worker of CPU 1 runs on CPU 0, and cannot be brought back (Invalid argument)"
    condition, message = status({}, {"astray": astray})
    assert condition == "Degraded"
    assert message.startswith(f"{astray}: allow it CPU 1")
