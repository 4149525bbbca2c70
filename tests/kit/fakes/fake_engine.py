"""An engine without DPDK that refuses everything that docs/engine-api.md says is refused, and a little more: an action
whose `before` is not what is live is a fault of the plan.

Each live resource carries the serial number of its making, so that a test can tell whether a survivor was touched.
"""

from __future__ import annotations

import itertools
import json
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import zmq

from engine.api.client import EngineError, EngineUnavailable, Observation
from engine.api.live import Live
from reconciler.observe.actions import needs_new_process
from schema.model import (
    Action,
    Engine,
    Key,
    Kind,
    Mount,
    Pages,
    Pin,
    Port,
    Relay,
    Resource,
    Socket,
    State,
    Verb,
    Vf,
    Worker,
)
from schema.paths import engine_events, engine_socket
from schema.system.typed_json import decoded
from schema.vf import device_names

Name = tuple[Kind, Key]


class Refused(Exception):  # noqa: N818
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def need(condition: object, code: str, message: str) -> None:
    if not condition:
        raise Refused(code, message)


@dataclass
class FakeEngine:
    """Answers requests as values; `serve` puts it on the wire."""

    live: dict[Name, Resource] = field(default_factory=lambda: {(Kind.ENGINE, 0): Engine()})
    boot_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    generation: int = 0
    ready: str = "ready"
    measured: dict[str, Any] | None = None
    """What it says is live, instead of what is."""
    limits: dict[str, int] = field(default_factory=lambda: {"ports": 64, "relays": 64})
    broken: dict[tuple[Verb, str], str] = field(default_factory=dict)
    """(verb, "port:x") to the error code that it is refused with."""
    before_execute: Callable[[Action], None] | None = None
    executed: list[Action] = field(default_factory=list)
    serials: dict[Name, int] = field(default_factory=dict)
    guests: set[str] = field(default_factory=set)
    migrating: set[str] = field(default_factory=set)
    nodes: dict[str, int] = field(default_factory=dict)
    """Socket to the NUMA node of its guest."""
    lost: set[str] = field(default_factory=set)
    """Ports whose device has gone."""
    gone: bool = False
    shard: int = 0
    _count: Any = field(default_factory=lambda: itertools.count(1))

    @classmethod
    def of(cls, state: State, **more: Any) -> FakeEngine:
        live = {(kind, key): r for kind in Kind for key, r in state.resources(kind).items()}
        fake = cls(live=live, **more)
        fake.serials = {name: next(fake._count) for name in live}
        return fake

    @property
    def state(self) -> State:
        return State.of(self.live.values())

    def restart(self, engine: Engine | None = None) -> None:
        """As a new process would be: without relays."""
        workers = {name: r for name, r in self.live.items() if name[0] is Kind.WORKER}
        self.live = {(Kind.ENGINE, 0): engine or self.state.engine, **workers}
        self.serials = {name: next(self._count) for name in self.live}
        self.boot_id, self.generation = str(uuid.uuid4()), 0

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return {"ok": True, **self._answer(request)}
        except Refused as refused:
            return {"ok": False, "error": {"code": refused.code, "message": str(refused)}}
        except (KeyError, TypeError, ValueError) as error:
            return {"ok": False, "error": {"code": "bad-request", "message": f"not understood: {error!r}"}}

    def _answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        op = request["op"]
        if op == "hello":
            return self._hello()
        need(self.ready == "ready", "not-ready", "the engine is starting")
        if op == "observe":
            return {
                **self._moment(),
                "state": self.state.to_json(),
                "live": self._live() if self.measured is None else self.measured,
            }
        if op == "counters":
            return {"tsc_hz": 10**9, "now_tsc": 5 * 10**9, "relays": {str(r): _counters() for r in self.state.relays}}
        need(op == "execute", "bad-request", f"unknown request {op}")
        return self._execute(request)

    def _moment(self) -> dict[str, Any]:
        return {"boot_id": self.boot_id, "generation": self.generation}

    def _hello(self) -> dict[str, Any]:
        return {
            **self._moment(),
            "version": "0.1.0",
            "dpdk": "22.11",
            "shard": self.shard,
            "pid": 1,
            "memory": "no-huge",
            "limits": self.limits,
            "state": self.ready,
        }

    def _live(self) -> dict[str, Any]:
        state = self.state
        return {
            "ports": {
                name: {"present": name not in self.lost, "link": "up", "mac": "02:00:00:00:00:01"}
                for name in state.ports
            },
            "sockets": {
                path: {"guest": path in self.guests, "migrating": path in self.migrating, "connects": 1}
                | ({"node": self.nodes[path]} if path in self.nodes else {})
                for path in state.sockets
            },
            "workers": {str(w.cpu): {"state": "running", "entries": 0, "slept": 0.93} for w in state.workers},
        }

    def _execute(self, request: Mapping[str, Any]) -> dict[str, Any]:
        action = Action.from_json(request["action"])
        if self.before_execute is not None:
            self.before_execute(action)
        need(request["boot_id"] == self.boot_id and request["generation"] == self.generation, "stale", "changed")
        code = self.broken.get((action.verb, action.resource))
        need(code is None, code or "", f"{action.resource} is broken")
        pin = Pin(**request["pin"]) if "pin" in request else None
        need((pin is not None) == (action.kind is Kind.RELAY and action.verb is Verb.ADD), "bad-request", "pin")
        need(self.live.get((action.kind, action.key)) == action.before, "unknown", f"before of {action.resource}")
        self._carry_out(action, pin)
        self.executed.append(action)
        if action.kind is Kind.ENGINE and action.verb is Verb.REPLACE:
            assert isinstance(action.after, Engine)
            self.restart(action.after)
            return {"generation": 0}
        self.generation += 1
        return {"generation": self.generation, "took_us": 10}

    def _carry_out(self, action: Action, pin: Pin | None) -> None:
        name = (action.kind, action.key)
        if action.after is None:
            self._removable(action)
            del self.live[name]
            self.live.pop((Kind.PIN, action.key), None) if action.kind is Kind.RELAY else None
            return
        need(action.verb is not Verb.ADD or name not in self.live, "exists", f"{action.resource} exists")
        self._settable(action, pin)
        self.live[name] = action.after
        if action.verb in (Verb.ADD, Verb.REPLACE):
            self.serials[name] = next(self._count)
        if pin is not None:
            self.live[Kind.PIN, action.key] = pin

    def _removable(self, action: Action) -> None:
        need(action.verb is Verb.REMOVE, "bad-request", "verb")
        relays = self.state.relays.values()
        match action.before:
            case Port(name=name):
                need(all(r.port != name for r in relays), "in-use", f"port {name} is held")
            case Socket(path=path):
                need(all(r.socket != path for r in relays), "in-use", f"socket {path} is held")
            case Worker(cpu=cpu):
                pins = self.state.pins.values()
                need(all(cpu not in (p.vf_to_vm, p.vm_to_vf) for p in pins), "in-use", f"worker {cpu} has pins")
            case Relay() | Vf() | Pages() | Mount():  # the host's, which here is one with the engine
                pass
            case _:
                raise Refused("unsupported", f"{action.resource} is not removed")

    def _settable(self, action: Action, pin: Pin | None) -> None:
        before, after = action.before, action.after
        match after:
            case Engine():
                assert isinstance(before, Engine)
                need(needs_new_process(before, after) == (action.verb is Verb.REPLACE), "unsupported", "main_cpu")
            case Port():
                self._attachable(action.verb, before, after)
                need(before or len(self.state.ports) < self.limits["ports"], "limit", "too many ports")
            case Socket():
                same_mode = isinstance(before, Socket) and before.mode == after.mode
                need(action.verb is not Verb.UPDATE or same_mode, "unsupported", "mode")
            case Relay():
                need(action.verb in (Verb.ADD, Verb.UPDATE), "unsupported", "verb")
                self._pairable(after)
                self._pollable(pin or self.state.pins[after.id], after.id)
            case Pin():
                need(action.verb is Verb.MIGRATE, "unsupported", "verb")
                need(after.relay in self.state.relays, "unknown", "relay")
                self._pollable(after, after.relay)

    def _attachable(self, verb: Verb, before: Resource | None, port: Port) -> None:
        """Only the members of a bond change in place, and no device is in two ports."""
        members_only = isinstance(before, Port) and port.bond_mode and replace(before, members=port.members) == port
        need(verb in (Verb.ADD, Verb.REPLACE) or (verb is Verb.UPDATE and members_only), "unsupported", "verb")
        for name, other in self.state.ports.items():
            apart = name == port.name or not device_names(other) & device_names(port)
            need(apart, "exists", f"{name} has a device of {port.name}")

    def _pairable(self, relay: Relay) -> None:
        state = self.state
        need(relay.port in state.ports, "unknown", f"no port {relay.port}")
        need(relay.socket in state.sockets, "unknown", f"no socket {relay.socket}")
        for other in state.relays.values():
            if other.id != relay.id:
                need(other.port != relay.port, "in-use", f"port {relay.port} is held by relay {other.id}")
                need(other.socket != relay.socket, "in-use", f"socket {relay.socket} is held by relay {other.id}")

    def _pollable(self, pin: Pin, relay: int) -> None:
        need(pin.relay == relay, "bad-request", "the pin is another relay's")
        for cpu in (pin.vf_to_vm, pin.vm_to_vf):
            need(Worker(cpu) in self.state.workers, "unknown", f"no worker on CPU {cpu}")


def _counters() -> dict[str, Any]:
    drops = {
        f"{reason}_{unit}": 0
        for reason in ("guest_absent", "guest_full", "vf_absent", "vf_full", "vf_unfit")
        for unit in ("packets", "bytes")
    }
    way = {"rx_packets": 5, "rx_bytes": 300, "tx_packets": 4, "tx_bytes": 240, "busy_cycles": 10**9, **drops}
    return {
        "vf_to_vm": way,
        "vm_to_vf": way,
        "port": {"imissed": 0, "ierrors": 0, "rx_nombuf": 0, "oerrors": 0},
    }


@dataclass
class LocalClient:
    """A client without a wire: what crosses is JSON all the same."""

    engine: FakeEngine

    def observe(self) -> Observation:
        reply = self._ask({"op": "observe"})
        return Observation(
            reply["boot_id"], reply["generation"], State.from_json(reply["state"]), decoded(Live, reply["live"])
        )

    def execute(self, action: Action, boot_id: str, generation: int, pin: Pin | None = None) -> tuple[int, int]:
        request: dict[str, Any] = {
            "op": "execute",
            "boot_id": boot_id,
            "generation": generation,
            "action": action.to_json(),
        }
        if pin is not None:
            request["pin"] = {"relay": pin.relay, "vf_to_vm": pin.vf_to_vm, "vm_to_vf": pin.vm_to_vf}
        reply = self._ask(request)
        return reply["generation"], reply.get("took_us", 0)

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if self.engine.gone:
            raise EngineUnavailable("no engine answers")
        reply: dict[str, Any] = json.loads(json.dumps(self.engine.answer(json.loads(json.dumps(request)))))
        if not reply["ok"]:
            raise EngineError(reply["error"]["code"], reply["error"]["message"])
        return reply


class Served:
    """A fake engine on the real wire, in a thread; `with Served(engine, run_dir)`."""

    def __init__(self, engine: FakeEngine, run_dir: Path, shard: int = 0) -> None:
        self.engine = engine
        self.shard = shard
        self.run_dir = run_dir
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._stop = threading.Event()
        self._say: list[dict[str, Any]] = []
        self._thread = threading.Thread(target=self._loop)

    def __enter__(self) -> Served:
        self.run_dir.mkdir(parents=True, exist_ok=True)
        self._router = self._context.socket(zmq.ROUTER)
        self._router.bind(f"ipc://{engine_socket(self.run_dir, self.shard)}")
        self._events = self._context.socket(zmq.PUB)
        self._events.bind(f"ipc://{engine_events(self.run_dir, self.shard)}")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._context.destroy(linger=0)
        for path in (engine_socket(self.run_dir, self.shard), engine_events(self.run_dir, self.shard)):
            path.unlink(missing_ok=True)

    def say(self, event: str, resource: str = "", relay: int | None = None) -> None:
        self._say.append({"event": event, "resource": resource, "relay": relay, "time": 0.0})

    def _loop(self) -> None:
        while not self._stop.is_set():
            while self._say:
                self._events.send(json.dumps(self._say.pop(0)).encode())
            if not self._router.poll(10):
                continue
            *route, raw = self._router.recv_multipart()
            self._router.send_multipart([*route, json.dumps(self.engine.answer(json.loads(raw))).encode()])
