"""How a worker rests: never beyond its bound, and never while packets move.

The C library's usleep is replaced by one that says how long it was asked to sleep.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator

import pytest
from llvmlite import binding

from engine.burst.compiled.cache import numba_cache
from engine.dpdk import library
from schema.paths import cache_dir
from tests.engine.burst.doubles.reference_entry import Surroundings
from tests.kit.waiting import wait_for

naps: list[int] = []


def _usleep(micros: int) -> int:
    naps.append(micros)
    return 0


usleep = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(_usleep)
binding.add_symbol("usleep", ctypes.cast(usleep, ctypes.c_void_p).value or 0)

with numba_cache(cache_dir(), library.load().version):
    from tests.engine.burst.doubles import fake_dpdk  # isort: skip - its symbols must be there first
    from engine.burst.compiled import layout as at
    from engine.burst.compiled.memory import Block
    from engine.burst.idle import go_idle
    from engine.burst.loops import work

IDLE_FOR_EVER = -(2**62)
"""A moment so long ago that a worker idle since then sleeps as long as it may."""
run_work = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int64)(work.address)


@pytest.fixture(autouse=True)
def _awake() -> None:
    naps.clear()


@pytest.fixture
def worker() -> Block:
    block = Block(at.WORKER_SIZE)
    cpus = sum(1 << cpu for cpu in os.sched_getaffinity(0))
    block.write_bytes(at.WORKER_CPUSET, cpus.to_bytes(128, "little"))
    block.write(at.WORKER_CYCLES_PER_US, 1000)
    return block


@pytest.mark.parametrize("longest_us", [1, 2, 50, 1000, 100_000])
def test_the_longest_sleep_is_the_bound(longest_us: int, worker: Block) -> None:
    worker.write(at.WORKER_SLEEP_US, longest_us)
    go_idle(worker.address, IDLE_FOR_EVER)
    assert naps == [longest_us]
    assert worker.read(at.WORKER_SLEPT_CYCLES) > 0


def test_busy_never_sleeps(worker: Block) -> None:
    worker.write(at.WORKER_SLEEP_US, 0)
    go_idle(worker.address, IDLE_FOR_EVER)
    assert naps == []
    assert worker.read(at.WORKER_SLEPT_CYCLES) == 0


def test_what_has_just_gone_quiet_is_only_paused_for(worker: Block) -> None:
    worker.write(at.WORKER_SLEEP_US, 1000)
    worker.write(at.WORKER_SPIN_CYCLES, 2**63 - 1)
    go_idle(worker.address, 0)
    assert naps == []


class Endless(fake_dpdk.Place):
    """A VF that has a packet at each look until it is `dry`; without a guest all of them are dropped at once."""

    dry = False

    def give(self, mbufs: int, most: int) -> int:
        if self.dry or most < 1:
            return 0
        ctypes.c_int64.from_address(mbufs).value = self.world.mbufs.hold(self.world.packets((64,))[0])
        return 1


@pytest.fixture
def busy(worker: Block) -> Iterator[Endless]:
    """An entry under a worker that would sleep at the first chance."""
    worker.write(at.WORKER_SLEEP_US, 1000)
    worker.write(at.WORKER_SPIN_CYCLES, 0)
    world = fake_dpdk.fresh()
    place = Endless(world, 0, at.VF_TO_VM)
    world.places.append(place)
    place.surround(Surroundings(True, False, 0, (), 0, 32), [])
    table = Block(at.TABLE_ENTRIES + 8)
    table.write(at.TABLE_COUNT, 1)
    table.write(at.TABLE_ENTRIES, place.entry.address)
    worker.write(at.WORKER_TABLE, table.address)
    worker.write(at.WORKER_FP_OPS, world.fp_ops.address)
    thread = threading.Thread(target=run_work, args=(worker.address,))
    thread.start()
    yield place
    worker.write(at.WORKER_STOP, 1)
    thread.join()


def test_under_load_it_never_sleeps(busy: Endless, worker: Block) -> None:
    wait_for("passes with packets", lambda: busy.counters()["rx_packets"] > 2000, 60.0)
    assert worker.read(at.WORKER_SLEPT_CYCLES) == 0
    assert naps == []


def test_once_the_load_ends_it_sleeps(busy: Endless, worker: Block) -> None:
    wait_for("passes with packets", lambda: busy.counters()["rx_packets"] > 10, 60.0)
    busy.dry = True
    wait_for("a sleep", lambda: worker.read(at.WORKER_SLEPT_CYCLES) > 0, 60.0)
    assert max(naps) <= 1000
