"""All engine processes of a host: what each shows, and a client of each, which also does what the host has to do."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
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
from engine.api.live import Limits
from reconciler.host.hugepages import HostMounts
from reconciler.host.refusal import HostRefused, PlanProblem
from reconciler.host.vfio import HostVfs
from schema.model import MAX_SHARDS, PORTS, Action, Kind, Pin, Port, State, Verb, Vf
from schema.paths import engine_parameters, engine_socket
from schema.system.files import read_text
from schema.vf import pci_functions


@dataclass(frozen=True, slots=True)
class EngineVersion:
    """The state of an engine that a plan was made for, or that it was left in."""

    shard: int
    boot_id: str | None
    """None: it did not run, and is to be as it starts."""
    generation: int


def fingerprint(versions: Iterable[EngineVersion]) -> tuple[str, int]:
    """Another one as soon as any of these engines is another, or was changed."""
    ordered = sorted(versions, key=lambda version: version.shard)
    return " ".join(f"{m.shard}={m.boot_id}" for m in ordered), sum(m.generation for m in ordered)


@dataclass(frozen=True, slots=True)
class HostSnapshot:
    """What all engine processes of a host showed when they were asked, one after the other, by shard. Who is neither in
    `observations` nor in `silent` does not run."""

    observations: Mapping[int, Observation] = field(default_factory=dict)
    """Those that are ready, and what is live on them."""
    silent: Mapping[int, str] = field(default_factory=dict)
    """Those that run but do not say what is live on them: they start, stop or hang. With a sentence on each."""
    limits: Mapping[int, Limits] = field(default_factory=dict)
    """What each engine says that it can have, as docs/engine-api.md has it."""
    remembered: Mapping[int, int] = field(default_factory=dict)
    """Relay id to the shard on which it was last to be; it counts for relays that are not live."""

    @property
    def versions(self) -> tuple[EngineVersion, ...]:
        """Of those that said what is live on them."""
        return tuple(
            EngineVersion(shard, each.boot_id, each.generation) for shard, each in sorted(self.observations.items())
        )

    @property
    def live(self) -> dict[int, int]:
        """Relay id to the shard on which it is."""
        return {
            id_: shard
            for shard in sorted(self.observations, reverse=True)
            for id_ in self.observations[shard].state.relays
        }

    @property
    def states(self) -> dict[int, State]:
        """What is live on each shard that says so."""
        return {shard: observation.state for shard, observation in sorted(self.observations.items())}

    @property
    def room(self) -> tuple[int, ...]:
        """How many of DPDK's ports each shard may have; one that does not say is taken to be as the others."""
        known = {shard: limits.ports for shard, limits in sorted(self.limits.items()) if limits.ports is not None}
        usual = next(iter(known.values()), PORTS)
        return tuple(known.get(shard, usual) for shard in range(MAX_SHARDS))

    @property
    def homes(self) -> Mapping[int, int]:
        """What is remembered, as long as it is good for something: where nothing is live and nobody hangs, everything
        can be placed anew without a guest noticing, on as few shards as possible."""
        return self.remembered if self.live or self.silent else {}


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
        """Closes all connections; a second call does nothing."""
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
        observations: dict[int, Observation] = {}
        limits: dict[int, Limits] = {}
        silent: dict[int, str] = {}
        for shard in range(MAX_SHARDS):
            if shard and not engine_socket(self.run_dir, shard).exists():
                continue
            try:
                limits[shard], observations[shard] = self._ask(shard)
            except EngineError as error:
                self.faults[shard], silent[shard] = error, f"shard {shard}: {error.message}"
            except EngineSilent as error:
                self.faults[shard], silent[shard] = error, str(error)
            except EngineUnavailable as error:
                self.faults[shard] = error
        return HostSnapshot(observations, silent, limits, remembered_homes(self.run_dir, self.state_dir))

    def ping(self) -> dict[int, Hello]:
        """Who answers, by shard; as `observe`, and cheaper."""
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

    def _ask(self, shard: int) -> tuple[Limits, Observation]:
        client = self.client(shard)
        self.heard[shard] = hello = client.hello()
        return hello.has_room_for, client.observe()

    def observe_any(self) -> HostSnapshot:
        """As `observe`. Raises EngineUnavailable or EngineError when no engine says what is live on it."""
        snapshot = self.observe()
        if not snapshot.observations:
            raise self.faults[min(self.faults)]
        return snapshot


class Events:
    """What engines say, and their comings and goings."""

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


class HostEngine(EngineClient):
    """Observes and executes as an engine's client does; what concerns the host it does itself: VFs for each engine,
    hugepages and their mounts for all of them with the first one."""

    def __init__(self, run_dir: Path, vfs: HostVfs, mounts: HostMounts, shard: int = 0) -> None:
        super().__init__(run_dir, shard)
        self._vfs = vfs
        self._mounts = mounts if shard == 0 else None

    def observe(self) -> Observation:
        observed = super().observe()
        state = replace(observed.state, vfs=self._vfs.bound())
        if self._mounts is not None:
            state = replace(state, pages=self._mounts.pages(), mounts=self._mounts.mounts())
        return replace(observed, state=state)

    def execute(self, action: Action, boot_id: str, generation: int, pin: Pin | None = None) -> tuple[int, int]:
        """As the engine's; what is done on the host is no action of the engine's, so the generation stays."""
        try:
            if action.kind in (Kind.VF, Kind.PAGES, Kind.MOUNT):
                began = time.monotonic_ns()
                self._carry_out(action)
                return generation, (time.monotonic_ns() - began) // 1000
            for address in _to_attach(action):
                self._vfs.require_pollable(address)
        except HostRefused as refused:
            raise EngineError(refused.refusal.code, refused.refusal.message) from refused
        return super().execute(action, boot_id, generation, pin)

    def _carry_out(self, action: Action) -> None:
        if action.kind is not Kind.VF:
            assert self._mounts is not None, "the plan has these for the first engine only"
            self._mounts.carry_out(action)
            return
        address = str(action.key)
        if action.verb is Verb.REMOVE:
            self._vfs.give_back(address)
        else:
            self._vfs.bind(address)


def _to_attach(action: Action) -> Iterable[str]:
    """The functions that this action makes the engine attach."""
    if not isinstance(action.after, Port):
        return ()
    before = pci_functions(action.before) if action.verb is Verb.UPDATE and isinstance(action.before, Port) else []
    return [address for address in pci_functions(action.after) if address not in before]


def refusals(holders: Mapping[str, int], actions: Iterable[Action], vfs: HostVfs) -> list[PlanProblem]:
    """What on this host will keep a plan's ports from being added, and functions from being bound, as it is now.
    `holders`: which relay is to have which port."""
    todo = list(actions)
    binds = [str(action.key) for action in todo if isinstance(action.after, Vf)]
    attaches = [(address, str(action.key)) for action in todo for address in _to_attach(action)]
    named = {port: f"relay:{id_}" for port, id_ in holders.items()}
    wanted = {address: named.get(port, f"port:{port}") for address, port in attaches}
    wanted |= {address: f"vf:{address}" for address in binds if address not in wanted}
    found = ((who, vfs.refusal(address, address in binds)) for address, who in wanted.items())
    return [PlanProblem(who, refusal.message) for who, refusal in found if refusal is not None]


def read_parameters(directories: Iterable[Path], shard: int) -> dict[str, Any]:
    """What the first of these directories has that can be read; nothing where none has."""
    for directory in directories:
        with contextlib.suppress(OSError, ValueError, RecursionError):
            value = json.loads(read_text(engine_parameters(directory, shard)))
            if isinstance(value, dict):
                return value
    return {}


def remembered_homes(*directories: Path) -> dict[int, int]:
    """Relay id to the shard that it was last to be on, by the first of these directories that can be read; what can't
    be is not remembered."""
    homes: dict[int, int] = {}
    for shard in reversed(known_shards(*directories)):
        relays = read_parameters(directories, shard).get("relays")
        homes |= {id_: shard for id_ in relays if type(id_) is int} if isinstance(relays, list) else {}
    return homes


def known_shards(*directories: Path) -> list[int]:
    """The engine processes that are to run: those that parameters were left for in one of these directories."""
    return [shard for shard in range(MAX_SHARDS) if any(engine_parameters(d, shard).exists() for d in directories)]
