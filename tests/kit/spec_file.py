"""Writes specs the way a person's editor or a script does."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class RelayLine:
    """One relay of a spec; what is None is left out."""

    id: int
    vf: str
    cpus: tuple[int, ...] | None = None
    socket: str | None = None
    packed: bool | None = None
    queues: int | None = None
    bond: Mapping[str, Any] | None = None
    """Instead of `vf`, which is empty then."""

    def __str__(self) -> str:
        wanted = {field.name: getattr(self, field.name) for field in fields(self)}
        return json.dumps({name: value for name, value in wanted.items() if value not in (None, "")})


def spec_text(
    relays: Sequence[RelayLine],
    directory: Path,
    worker_cpus: Sequence[int] = (0,),
    main_cpu: int = 0,
    idle: str = "adaptive",
    log_level: str = "info",
    vhost_user: Mapping[str, Any] | None = None,
    allow_destroy: Sequence[int] = (),
    more: Mapping[str, Any] | None = None,
) -> str:
    """A spec whose sockets are `directory`/vm<id>.sock; `vhost_user` are more keys of that part, `allow_destroy` the
    relays that may go although their guests are connected, `more` further parts of the spec."""
    engine = {"main_cpu": main_cpu, "worker_cpus": list(worker_cpus), "idle": idle, "log_level": log_level}
    lines = [
        "apiVersion: vio4wd/v1",
        f"engine: {json.dumps(engine)}",
        f"vhost_user: {json.dumps({'directory': str(directory), 'name': 'vm%u.sock', **(vhost_user or {})})}",
        "relays:" if relays else "relays: []",
        *(f"  - {relay}" for relay in relays),
        *([f"allow_destroy: {json.dumps([f'relay:{id_}' for id_ in allow_destroy])}"] if allow_destroy else []),
        *(f"{key}: {json.dumps(value)}" for key, value in (more or {}).items()),
    ]
    return "\n".join(lines) + "\n"


def save(path: Path, text: str) -> None:
    """Save as editors do: a new file, moved over the old one."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text)
    os.replace(beside, path)
