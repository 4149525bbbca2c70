"""What commit 01be0f3 left on a host and said on the wire: the last one before the files moved into rooms.

`state.sql` and the JSON files are a state directory as its `watch`, `rollback` and `state/` wrote it. `wire.jsonl`
is what passed between its watch, its commands and its engine with two relays of `net_null` devices, one exchange or
event a line, the same one only once: the start of the engine, a first spec, a second, a relay of port control, a guest
that comes and goes, `rollback`, `stats`, `capture`, and what is refused.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from state.store import FILE

HERE = Path(__file__).parent
SPEC_FILE = "/etc/vio4wd/vio4wd.yaml"
"""The watched file, by its name in the state directory."""
SOCKETS = "/tmp/vio4wd-before/v"
"""Where its guests' sockets were."""
FIRST = "9a41bfc5295537db2421873a0411caa2b7b095f21e4f10dbc7bd893c20f3d9ee"
SECOND = "274266e06836b95ac17d441d5fbf330c8e97471d6e4b54654f3a910791e6ba92"
"""The two specs, by sha256."""


def state_directory(path: Path, spec_file: str = SPEC_FILE) -> Path:
    """Makes it there; `spec_file` is to be the watched one."""
    path.mkdir()
    with closing(sqlite3.connect(path / FILE)) as connection:
        connection.executescript((HERE / "state.sql").read_text().replace(SPEC_FILE, spec_file))
    for name in ("engine-0.json", "paused.json"):
        shutil.copy(HERE / name, path)
    return path


@dataclass(frozen=True, slots=True)
class Exchange:
    request: Mapping[str, Any]
    reply: Mapping[str, Any]

    @property
    def op(self) -> str:
        return str(self.request["op"])


def _lines() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (HERE / "wire.jsonl").read_text().splitlines()]


def exchanges(op: str = "") -> list[Exchange]:
    """In their order; `op`: only those."""
    found = [Exchange(each["request"], each["reply"]) for each in _lines() if "request" in each]
    return [each for each in found if op in ("", each.op)]


def events() -> list[dict[str, Any]]:
    return [each["event"] for each in _lines() if "event" in each]


def observation(generation: int) -> dict[str, Any]:
    """What the engine said of itself then."""
    return next(dict(each.reply) for each in exchanges("observe") if each.reply.get("generation") == generation)


class Replay:
    """An engine that answers as the recorded one did, and does what that did: anything else is refused."""

    def __init__(self, generation: int = 0) -> None:
        self.generation = generation
        self.refused: list[Mapping[str, Any]] = []
        """What was asked for that the recorded client never asked for then."""

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if request["op"] == "hello":
            return {**exchanges("hello")[-1].reply, "generation": self.generation}
        if request["op"] == "observe":
            return observation(self.generation)
        for each in exchanges(str(request["op"])):
            if _bare(each.request) == _bare(request):
                self.generation = each.reply.get("generation", self.generation)
                return dict(each.reply)
        self.refused.append(request)
        return {"ok": False, "error": {"code": "failed", "message": "nobody has asked for this before"}}


def _bare(request: Mapping[str, Any]) -> Mapping[str, Any]:
    """Without the words on why."""
    action = request.get("action")
    return {**request, "action": {**action, "reason": ""}} if action is not None else request
