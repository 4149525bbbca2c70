"""What is no rate: planning, applying, starting, idling."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.dpdk.mbuf import STANDARD_ROOM_BYTES
from reconciler.planning.plan import plan
from schema.model import Engine, Pin, Port, Relay, Socket, State, Worker
from state.history import entries
from state.store import Store
from tests.kit.guests.guest import TestpmdGuest, virtio_user, wait_for_socket
from tests.kit.guests.testpmd import Cpus, Testpmd
from tests.kit.instance import Instance
from tests.kit.spec_file import RelayLine
from tests.kit.waiting import wait_for

IDLE_RELAYS = 8
FEW_RELAYS, MANY_RELAYS = 1, 17
IDLE_SECONDS = 10.0
PLAN_TIMES = 50
TICKS_PER_S = 100


@dataclass(frozen=True, slots=True)
class Timing:
    """A measured value. `most` is what it may be; None: shown, not judged."""

    name: str
    words: str
    value: float
    unit: str
    most: float | None
    samples: tuple[float, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "value": round(self.value, 4),
            "unit": self.unit,
            "most": self.most,
            "samples": [round(sample, 4) for sample in self.samples],
        }


Measurement = Callable[[int], Timing]
"""Takes how many times what is slow is to be repeated."""


def state_of(relays: int, cpus: tuple[int, int]) -> State:
    """A state with this many relays, each on the same two CPUs."""
    resources: list[Any] = [Engine(), Worker(1), Worker(2)]
    for index in range(relays):
        name, path = f"net_null{index}", f"/run/vm{index}.sock"
        resources += [Port(name, "size=64"), Socket(path), Relay(index, name, path), Pin(index, *cpus)]
    return State.of(resources)


def plan_time(_: int) -> Timing:
    """The slowest of three plans for 64 relays: all new, all moved, all as they are."""
    full, moved = state_of(64, (1, 2)), state_of(64, (2, 1))
    pairs = {"add": (full, State()), "move": (moved, full), "nothing": (full, full)}
    medians = {name: _median_ms(wanted, live) for name, (wanted, live) in pairs.items()}
    slowest = max(medians, key=lambda name: medians[name])
    words = f"plan for 64 relays (slowest: {slowest})"
    return Timing("plan-64", words, medians[slowest], "ms", 20.0, tuple(medians.values()))


def _median_ms(wanted: State, live: State) -> float:
    times = []
    for _ in range(PLAN_TIMES):
        started = time.perf_counter()
        plan(wanted, live)
        times.append((time.perf_counter() - started) * 1e3)
    return statistics.median(times)


def pin_time(times: int) -> Timing:
    """From the saving of a file in which one pin has changed to the record that the change was applied and verified."""
    samples = []
    with Instance.relaying(_relays(2, (0,)), worker_cpus=[0, 1]) as instance:
        instance.run()
        for turn in range(max(times, 3)):
            cpu = 1 - turn % 2
            before = _applies(instance)
            saved = time.time()
            instance.relay([*_relays(1, (0,)), RelayLine(1, "net_null1,size=64", (cpu,))], worker_cpus=[0, 1])
            wait_for("the change to be recorded", lambda before=before: _applies(instance) > before)  # type: ignore[misc]
            samples.append((_last_apply(instance) - saved) * 1e3)
    words = "save to verified: one changed pin"
    return Timing("save-to-applied", words, statistics.median(samples), "ms", None, tuple(samples))


def _relays(count: int, cpus: tuple[int, ...]) -> list[RelayLine]:
    return [RelayLine(index, f"net_null{index},size=64", cpus) for index in range(count)]


def _applies(instance: Instance) -> int:
    latest = entries(Store(instance.state_dir), 1)
    return latest[0].id if latest else 0


def _last_apply(instance: Instance) -> float:
    return entries(Store(instance.state_dir), 1)[0].time


def cold_start(times: int) -> Timing:
    """From nothing, with nothing compiled yet, to the first packet in a guest."""
    samples = []
    for _ in range(max(1, times // 2)):
        with tempfile.TemporaryDirectory(prefix="v4-cache-") as cache:
            samples.append(_first_packet_s(Path(cache)))
    words = "cold start to the first packet (compiling)"
    return Timing("cold-start", words, statistics.median(samples), "s", None, tuple(samples))


def warm_start(times: int) -> Timing:
    """From nothing, with the loops compiled before, to the first packet in a guest."""
    with tempfile.TemporaryDirectory(prefix="v4-cache-") as cache:
        _first_packet_s(Path(cache))
        samples = [_first_packet_s(Path(cache)) for _ in range(times)]
    words = "warm start to the first packet"
    return Timing("warm-start", words, statistics.median(samples), "s", 3.0, tuple(samples))


def _first_packet_s(cache: Path) -> float:
    """The guest runs already and plugs its NIC in as soon as the socket is there: its own start is not counted."""
    instance = Instance.relaying(_relays(1, (1,)), cache=cache, worker_cpus=[1])
    with instance, Testpmd([], "rxonly", Cpus(0, (0,))) as guest:
        started = time.monotonic()
        instance.run(wait=False)
        wait_for_socket(instance.socket(0), 120.0)
        guest.tell(f"port attach {virtio_user(0, instance.socket(0))}")
        guest.tell("port start 0")
        guest.start()
        wait_for("a packet in the guest", lambda: guest.port_stats().rx_packets, 30.0, 0.005)
        return time.monotonic() - started


def idle_cpu(_: int) -> Timing:
    """The share of one CPU that the engine uses with 8 connected guests that do nothing, adaptive."""
    relays = [RelayLine(index, f"net_null{index},size=64,no-rx=1", (1,)) for index in range(IDLE_RELAYS)]
    with Instance.relaying(relays, worker_cpus=[1]) as instance:
        instance.run()
        sockets = [instance.socket(relay.id) for relay in relays]
        with TestpmdGuest(sockets, "rxonly", Cpus(0, (0,)), memory_mib=384):
            wait_for("8 guests to be connected", lambda: _connected(instance) == IDLE_RELAYS)
            time.sleep(1.0)
            pids = {"engine": [instance.engine_pid], "all": instance.pids()}
            shares = _shares(pids, IDLE_SECONDS)
    words = f"idle, {IDLE_RELAYS} connected relays: the engine's share of a CPU (all of vio4wd: {shares['all']:.2f} %)"
    return Timing("idle-8", words, shares["engine"], "%", 5.0, (shares["engine"], shares["all"]))


def memory_mib(_: int) -> Timing:
    """What a relay more takes of the engine's memory, ordinary and hugepages, beyond its pool of packet buffers."""
    few, _pool = _memory_mib(FEW_RELAYS)
    many, pool_mib = _memory_mib(MANY_RELAYS)
    each_mib = (many - few) / (MANY_RELAYS - FEW_RELAYS)
    words = f"memory of a relay beyond the {pool_mib:.1f} MiB of its pool"
    return Timing("memory", words, each_mib - pool_mib, "MiB", 12.0, (each_mib, pool_mib))


def _memory_mib(relays: int) -> tuple[float, float]:
    """The engine's memory with so many relays, and what one pool takes, both in MiB."""
    with Instance.relaying(_relays(relays, (1,)), worker_cpus=[1]) as instance:
        instance.run()
        status = Path("/proc", str(instance.engine_pid), "status").read_text()
        kib = sum(int(line.split()[1]) for line in status.splitlines() if line.startswith(("VmRSS", "HugetlbPages")))
        costs = instance.client.hello().limits
    mbufs = 2 * Port("").descriptors + costs["port_mbufs"]
    return kib / 1024, mbufs * (STANDARD_ROOM_BYTES + costs["mbuf_bytes"]) / 2**20


def _connected(instance: Instance) -> int:
    seen = instance.observed()
    return sum(live.guest for live in seen.live.sockets.values()) if seen else 0


def _shares(groups: dict[str, list[int]], seconds: float) -> dict[str, float]:
    before = {name: _ticks(pids) for name, pids in groups.items()}
    started = time.monotonic()
    time.sleep(seconds)
    elapsed_s = time.monotonic() - started
    return {name: (_ticks(pids) - before[name]) / TICKS_PER_S / elapsed_s * 100 for name, pids in groups.items()}


def _ticks(pids: Sequence[int]) -> int:
    """User and system time of processes, in ticks of 10 ms."""
    total = 0
    for pid in pids:
        fields = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total


MEASUREMENTS: dict[str, Measurement] = {
    "plan-64": plan_time,
    "save-to-applied": pin_time,
    "cold-start": cold_start,
    "warm-start": warm_start,
    "idle-8": idle_cpu,
    "memory": memory_mib,
}
