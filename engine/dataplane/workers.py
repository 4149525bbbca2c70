"""Workers: DPDK lcores that run the burst loop over a table of entries.

A table is never changed. To change what a worker polls, a new one is published and the old one dropped after the
grace period; until then both entries and table stay alive here.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.api.fault import Refused
from engine.burst.compiled import layout as at
from engine.burst.compiled.memory import Block, write_word
from engine.dpdk.eal import Eal
from schema.model import Engine

if TYPE_CHECKING:  # importing it compiles, which nothing here needs
    from engine.dataplane.context import Context

log = logging.getLogger("vio4wd.engine")
SPIN_US = 50
"""An idle worker spins for this long before its first sleep: shorter than any sleep, longer than a gap in a burst."""
CPUSET_BYTES = 128
_WORKER_THREAD = re.compile(r"(?:lcore-worker-|rte-worker-|dpdk-worker)(\d+)")
"""What DPDK calls an lcore's thread, which has changed from release to release (eal_thread.c)."""


@dataclass(frozen=True, slots=True)
class Idle:
    """How workers rest: `longest_us` 0 means never."""

    longest_us: int

    @classmethod
    def of(cls, engine: Engine) -> Idle:
        return cls(0 if engine.idle == "busy" else engine.idle_sleep_us)


class Worker:
    """One lcore bound to one CPU."""

    def __init__(self, cpu: int, lcore: int, block: Block) -> None:
        self.cpu = cpu
        self.lcore = lcore
        self.block = block
        self.entries: tuple[int, ...] = ()
        self.table = table_of(())
        block.write(at.WORKER_TABLE, self.table.address)
        self.thread = 0
        """Its id as the kernel knows it; 0: not looked for yet."""
        self.astray = ""
        """Why it does not run on its CPU, and cannot be made to."""
        self.slept = 0.0
        """Share of the last sample's time that it slept."""
        self._sampled = (0.0, 0)

    def sample(self, now: float, hz: int) -> None:
        """Measures `slept` since the last call; `now` in seconds."""
        cycles = self.block.read(at.WORKER_SLEPT_CYCLES)
        then, before = self._sampled
        if then and now > then:
            self.slept = min(1.0, (cycles - before) / (hz * (now - then)))
        self._sampled = (now, cycles)

    def bring_back(self) -> bool:
        """Whether it was elsewhere, and is on its CPU again. The kernel, or whoever may say so, moves threads: taskset,
        a cpuset, a CPU that goes offline."""
        try:
            now = os.sched_getaffinity(self.thread)
            if now == {self.cpu}:
                self.astray = ""
                return False
            os.sched_setaffinity(self.thread, {self.cpu})
        except ProcessLookupError:
            self.thread = 0
            return False
        except OSError as error:
            self._strayed(now, error)
            return False
        log.warning("the worker of CPU %d had been moved to %s: it is back", self.cpu, _listed(now))
        self.astray = ""
        return True

    def _strayed(self, now: Iterable[int], error: OSError) -> None:
        sentence = f"the worker of CPU {self.cpu} runs on {_listed(now)}, and cannot be brought back ({error.strerror})"
        if sentence != self.astray:
            log.error("%s", sentence)
        self.astray = sentence


def _listed(cpus: Iterable[int]) -> str:
    listed = sorted(cpus)
    return f"CPU {listed[0]}" if len(listed) == 1 else f"CPUs {','.join(map(str, listed))}"


def threads() -> dict[int, int]:
    """This process's worker threads, by lcore: DPDK names them."""
    found = {}
    for task in os.scandir("/proc/self/task"):
        with contextlib.suppress(OSError):
            named = _WORKER_THREAD.fullmatch(Path(task.path, "comm").read_text().strip())
            if named:
                found[int(named[1])] = int(task.name)
    return found


def table_of(entries: Sequence[int]) -> Block:
    """A table of entry addresses."""
    block = Block(at.TABLE_ENTRIES + 8 * len(entries))
    block.write(at.TABLE_COUNT, len(entries))
    for index, address in enumerate(entries):
        block.write(at.TABLE_ENTRIES + 8 * index, address)
    return block


class Workers:
    """The running workers by CPU."""

    def __init__(self, context: Context, eal: Eal, lcores: Iterable[int], idle: Idle) -> None:
        self._context = context
        self._eal = eal
        self._free = sorted(lcores)
        self._blocks: dict[int, Block] = {}
        """By lcore and never freed: vhost's thread may look at one at any time."""
        self._idle = idle
        self.by_cpu: dict[int, Worker] = {}

    def start(self, cpu: int) -> None:
        if cpu in self.by_cpu:
            raise Refused("exists", f"CPU {cpu} has a worker already")
        if cpu not in self._context.cpus:
            allowed = ",".join(map(str, sorted(self._context.cpus)))
            raise Refused("no-device", f"CPU {cpu} is not available to the engine (it may run on {allowed})")
        if not self._free:
            raise Refused("limit", f"no lcore is left for a worker on CPU {cpu}; restart the engine to have more")
        lcore = self._free.pop(0)
        worker = Worker(cpu, lcore, self._block(lcore, cpu))
        self._eal.launch(self._context.work_address, worker.block.address, lcore)
        self.by_cpu = {**self.by_cpu, cpu: worker}

    def _block(self, lcore: int, cpu: int) -> Block:
        block = self._blocks.get(lcore)
        if block is None:
            block = self._blocks[lcore] = Block(at.WORKER_SIZE)
            self._context.add_worker_block(block)
        hz = self._eal.tsc_hz
        block.write(at.WORKER_STOP, 0)
        block.write(at.WORKER_SLEEP_US, self._idle.longest_us)
        block.write(at.WORKER_SPIN_CYCLES, hz * SPIN_US // 1_000_000)
        block.write(at.WORKER_CYCLES_PER_US, max(1, hz // 1_000_000))
        block.write(at.WORKER_DRAIN_POOL, self._context.drain_pool.address)
        block.write(at.WORKER_FP_OPS, self._context.ethdevs.fp_ops)
        block.write_bytes(at.WORKER_CPUSET, (1 << cpu).to_bytes(CPUSET_BYTES, "little"))
        return block

    def stop(self, cpu: int) -> None:
        """Ends a worker that has no entries."""
        worker = self._worker(cpu)
        if worker.entries:
            polled = len(worker.entries)
            raise Refused("in-use", f"the worker on CPU {cpu} still polls {polled} directions; move them first")
        worker.block.write(at.WORKER_STOP, 1)
        self._eal.wait(worker.lcore)
        self._free = sorted([*self._free, worker.lcore])
        self.by_cpu = {key: value for key, value in self.by_cpu.items() if key != cpu}

    def _worker(self, cpu: int) -> Worker:
        worker = self.by_cpu.get(cpu)
        if worker is None:
            raise Refused("unknown", f"there is no worker on CPU {cpu}")
        return worker

    def require(self, *cpus: int) -> None:
        for cpu in cpus:
            self._worker(cpu)

    def take(self, entry: int) -> None:
        """Removes an entry from whichever worker has it; when this returns no worker touches it."""
        for worker in self.by_cpu.values():
            if entry in worker.entries:
                self._publish(worker, tuple(each for each in worker.entries if each != entry))

    def give(self, entry: int, cpu: int) -> None:
        """Adds an entry to a worker; no other worker may have it."""
        worker = self._worker(cpu)
        write_word(entry + at.ENTRY_LCORE, worker.lcore)
        self._publish(worker, (*worker.entries, entry))

    def _publish(self, worker: Worker, entries: tuple[int, ...]) -> None:
        table = table_of(entries)
        self._context.publish_table(worker.block.address, table.address)
        worker.table, worker.entries = table, entries

    def set_idle(self, idle: Idle) -> None:
        self._idle = idle
        for worker in self.by_cpu.values():
            worker.block.write(at.WORKER_SLEEP_US, idle.longest_us)

    def brought_back(self) -> list[int]:
        """Sees to it that each worker runs on its CPU: those that did not, and do again."""
        known = list(self.by_cpu.values())
        lost = [worker for worker in known if not worker.thread]
        ids = threads() if lost else {}
        back = [worker.cpu for worker in known if worker.thread and worker.bring_back()]
        for worker in lost:  # looked at from the next time on: it binds itself to its CPU when it starts
            worker.thread = ids.get(worker.lcore, 0)
        return back

    def sample(self, now: float) -> None:
        for worker in self.by_cpu.values():
            worker.sample(now, self._eal.tsc_hz)
