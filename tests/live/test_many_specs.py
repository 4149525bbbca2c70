"""Spec after spec applied by a running `vio4wd run`: nothing grows, neither in the loop nor in the engine."""

from __future__ import annotations

import hashlib
import json
import random
import time
from dataclasses import dataclass
from typing import Any

from tests.kit.instance import Instance
from tests.kit.runner.repetitions import times
from tests.kit.spec_file import RelayLine, spec_text
from tests.kit.topology import MAIN_CPU, WORKER_CPU
from tests.kit.waiting import wait_for
from tests.live.footprint import GROWTH_KIB, Footprint, footprint

SPECS = times(16, 1000)
WARM = times(8, 200)
"""Allocators and caches settle in the first ones."""
IDS = range(4)
SEED = 7


def lines(choice: random.Random) -> list[RelayLine]:
    """Some relays over taps, which, unlike net_null, leave nothing behind in DPDK."""
    ids = sorted(choice.sample(IDS, choice.randint(0, len(IDS))))
    taps = choice.sample(IDS, len(ids))
    return [
        RelayLine(id_, f"net_tap{tap},iface=v4spec{tap}", (WORKER_CPU,) if choice.random() < 0.5 else None)
        for id_, tap in zip(ids, taps, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Both:
    """What loop and engine hold."""

    watch: Footprint
    engine: Footprint


def at_rest(pid: int) -> Footprint:
    """What a process has in use when it does nothing: it looks around now and then, and opens something for that."""
    seen = []
    for _ in range(20):
        seen.append(footprint(pid))
        time.sleep(0.05)
    return min(seen, key=lambda each: each.descriptors)


class Round:
    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self._number = 0

    @property
    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.instance.run_dir / "watch.json").read_text())
        return found

    def save(self, relays: list[RelayLine]) -> None:
        """Saves another spec and waits until it is in force, verified."""
        self._number += 1
        names = [f"relay:{id_}" for id_ in IDS]
        text = spec_text(relays, self.instance.sockets, [WORKER_CPU], MAIN_CPU)
        text += f"allow_destroy: {json.dumps(names)}\n# {self._number}\n"
        self.instance.save(text)
        wait_for(f"spec {self._number} to be applied", lambda: self._applied(text), 60.0, 0.01)

    def _applied(self, text: str) -> bool:
        self.instance.check_running()
        left, force = self.instance.to_do(), self.report["in_force"]
        in_force = force is not None and force["sha256"] == hashlib.sha256(text.encode()).hexdigest()
        return in_force and left is not None and not left.actions and not left.missing

    def both(self) -> Both:
        return Both(at_rest(self.report["pid"]), at_rest(self.instance.engine_pid))


def test_specs_applied_in_a_row_leak_nothing() -> None:
    print(f"seed {SEED}")
    choice = random.Random(SEED)
    with Instance.relaying([], worker_cpus=[WORKER_CPU], main_cpu=MAIN_CPU) as instance:
        instance.run()
        rounds = Round(instance)
        for _ in range(WARM):
            rounds.save(lines(choice))
        rounds.save([])
        early = rounds.both()
        for _ in range(SPECS - WARM):
            rounds.save(lines(choice))
        rounds.save([])
        late = rounds.both()
        print(f"after {WARM} specs: {early}; after {SPECS}: {late}")
        for before, after in ((early.watch, late.watch), (early.engine, late.engine)):
            assert after.descriptors == before.descriptors
            assert after.hugepages_kib == before.hugepages_kib
            assert after.memory_kib - before.memory_kib < 4 * GROWTH_KIB
