"""All engine processes of a host: asks each that is there, and leaves each what it needs to start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import zmq

from engine.api.client import (
    EngineClient,
    EngineError,
    EngineSilent,
    EngineUnavailable,
    EventStream,
    Hello,
    Observation,
)
from reconciler.host.vfio import HostVfs
from reconciler.memory.memory import HostMounts
from reconciler.observe.engine_files import (
    remembered_homes,
)
from reconciler.observe.host_engine import HostEngine
from reconciler.observe.snapshot import HostSnapshot
from schema.model import MAX_SHARDS
from schema.paths import engine_socket


class Engines:
    """The engines under one run directory, and their parameters under one state directory. Not to be shared between
    threads. Use as a context manager, or `close` it."""

    def __init__(self, run_dir: Path, state_dir: Path) -> None:
        self.run_dir = run_dir
        self.state_dir = state_dir
        self.faults: dict[int, Exception] = {}
        """Why engines that were looked at last time can't be used, by shard."""
        self.vfs = HostVfs(state_dir)
        self.mounts = HostMounts(state_dir)
        self.heard: dict[int, Hello] = {}
        """Who answered last time, by shard, also who is not ready."""
        self._clients: dict[int, EngineClient] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of all engines; a second call does nothing."""
        while self._clients:
            self._clients.popitem()[1].close()
        self.vfs.close()
        self.mounts.close()

    def client(self, shard: int) -> EngineClient:
        """The client of one engine, whether it is there or not."""
        if shard not in self._clients:
            self._clients[shard] = HostEngine(self.run_dir, self.vfs, self.mounts, shard)
        return self._clients[shard]

    @property
    def clients(self) -> dict[int, EngineClient]:
        """Of all engines that were ever looked at."""
        return dict(self._clients)

    def observe(self) -> HostSnapshot:
        """What all engines show now. Raises nothing: who can't be asked is in `faults`."""
        self.faults, self.heard = {}, {}
        seen: dict[int, Observation] = {}
        limits: dict[int, Mapping[str, int]] = {}
        silent: dict[int, str] = {}
        for shard in range(MAX_SHARDS):
            if shard and not engine_socket(self.run_dir, shard).exists():
                continue
            try:
                limits[shard], seen[shard] = self._ask(shard)
            except EngineError as error:
                self.faults[shard], silent[shard] = error, f"shard {shard}: {error.message}"
            except EngineSilent as error:
                self.faults[shard], silent[shard] = error, str(error)
            except EngineUnavailable as error:
                self.faults[shard] = error
        return HostSnapshot(seen, silent, limits, remembered_homes(self.run_dir, self.state_dir))

    def ping(self) -> dict[int, Hello]:
        """Who answers, by shard; as `see`, and cheaper."""
        self.faults, self.heard = {}, {}
        for shard in range(MAX_SHARDS):
            if shard and not engine_socket(self.run_dir, shard).exists():
                continue
            try:
                self.heard[shard] = self.client(shard).hello()
            except (EngineError, EngineUnavailable) as error:
                self.faults[shard] = error
        return self.heard

    def counters(self) -> dict[int, dict[str, Any]]:
        """What each engine counted. Raises EngineUnavailable or EngineError when none says."""
        self.ping()
        counted: dict[int, dict[str, Any]] = {}
        for shard in self.heard:
            try:
                counted[shard] = self.client(shard).counters()
            except (EngineError, EngineUnavailable) as error:
                self.faults[shard] = error
        if not counted:
            raise self.faults[min(self.faults)]
        return counted

    def _ask(self, shard: int) -> tuple[Mapping[str, int], Observation]:
        client = self.client(shard)
        self.heard[shard] = hello = client.hello()
        return hello.limits, client.observe()

    def observe_any(self) -> HostSnapshot:
        """As `see`. Raises EngineUnavailable or EngineError when no engine says what is live on it."""
        snapshot = self.observe()
        if not snapshot.seen:
            raise self.faults[min(self.faults)]
        return snapshot


class Events:
    """What the engines of a fleet say, and their comings and goings."""

    def __init__(self, engines: Engines) -> None:
        self._engines = engines
        self._streams: dict[int, EventStream] = {}

    def follow(self, shards: Iterable[int], poller: zmq.Poller) -> None:
        """Listens to these too, whether they are there yet or not."""
        for shard in shards:
            if shard not in self._streams:
                try:
                    self._streams[shard] = self._engines.client(shard).events()
                except EngineUnavailable:  # it is looked at now and then all the same, and listened to later
                    continue
                for source in self._streams[shard].sources:
                    poller.register(source, zmq.POLLIN)

    def drain(self) -> list[dict[str, Any]]:
        """Everything since the last call."""
        return [event for stream in self._streams.values() for event in stream.drain()]

    def close(self) -> None:
        while self._streams:
            self._streams.popitem()[1].close()
