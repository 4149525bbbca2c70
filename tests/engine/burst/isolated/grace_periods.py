"""Real threads on the compiled worker loop: what a grace period promises, and that callbacks need no GIL.

Compiled spies take the place of DPDK's functions.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from engine.burst.compiled.cache import numba_cache
from engine.dpdk import descriptors, library
from schema.paths import cache_dir
from tests.kit.waiting import wait_for

with numba_cache(cache_dir(), library.load().version):
    from tests.engine.burst.doubles import compiled_spies  # isort: skip - its symbols must be there first
    from engine.burst.compiled import layout as at
    from engine.burst.compiled.memory import Block
    from engine.burst.compiled.quiesce import publish_anywhere, publish_table
    from engine.burst.loops import work
    from engine.burst.vhost.callback_block import CALLBACK_CONTEXT
    from engine.burst.vhost.callbacks import CALLBACKS

SWAPS = 3000
MOST_LOST = 64
_i64, _int = ctypes.c_int64, ctypes.c_int
run_work = ctypes.CFUNCTYPE(_int, _i64)(work.address)
publish = ctypes.CFUNCTYPE(None, _i64, _i64)(publish_table.address)
publish_word = ctypes.CFUNCTYPE(None, _i64, _i64, _i64)(publish_anywhere.address)
leave_pass = ctypes.CFUNCTYPE(None, _i64)(compiled_spies.leave_pass_of.address)


class Worker:
    """A worker's block, and the thread that is its lcore."""

    def __init__(self, longest_sleep_us: int = 0) -> None:
        self.block = Block(at.WORKER_SIZE)
        self.table = compiled_spies.table_of([])
        cpus = sum(1 << cpu for cpu in os.sched_getaffinity(0))
        self.block.write_bytes(at.WORKER_CPUSET, cpus.to_bytes(128, "little"))
        self.block.write(at.WORKER_TABLE, self.table.address)
        self.block.write(at.WORKER_FP_OPS, compiled_spies.FP_OPS.address)
        self.block.write(at.WORKER_SLEEP_US, longest_sleep_us)
        self.block.write(at.WORKER_CYCLES_PER_US, 1)  # so that its sleeps reach their longest soon
        self.thread: threading.Thread | None = None

    def start(self) -> None:
        self.block.write(at.WORKER_STOP, 0)
        before = self.passes()
        self.thread = threading.Thread(target=run_work, args=(self.block.address,))
        self.thread.start()
        wait_for("the worker's first pass", lambda: self.passes() > before)

    def stop(self) -> None:
        self.block.write(at.WORKER_STOP, 1)
        if self.thread is not None:
            self.thread.join()

    def passes(self) -> int:
        return self.block.read(at.WORKER_PASSES)

    def sequence(self) -> int:
        return self.block.read(at.WORKER_SEQUENCE)

    def publish(self, table: Block) -> None:
        publish(self.block.address, table.address)
        self.table = table


@contextlib.contextmanager
def running(*workers: Worker) -> Iterator[None]:
    try:
        for worker in workers:
            worker.start()
        yield
    finally:
        for worker in workers:
            worker.stop()


def context_of(*workers: Worker) -> Block:
    context = Block(at.CONTEXT_SIZE)
    point(context, *workers)
    return context


def point(context: Block, *workers: Worker) -> None:
    for index, worker in enumerate(workers):
        context.write(at.CONTEXT_WORKER + 8 * index, worker.block.address)
    context.write(at.CONTEXT_WORKERS, len(workers))


@pytest.fixture(autouse=True)
def _fresh_witnesses() -> None:
    compiled_spies.forget()


def wait_until_used(site: int) -> None:
    seen = compiled_spies.seen(site)
    wait_for(f"site {site} to be used", lambda: compiled_spies.seen(site) > seen)


# Tables


def swap_tables(worker: Worker, swap: Any, times: int) -> int:
    """Swaps between two sets of entries; what was swapped out is marked as retired. Gives how often such was used."""
    sites = [0, 1]
    tables = [compiled_spies.table_of([compiled_spies.Entry(port=site) for _ in range(3)]) for site in sites]
    worker.publish(tables[0])
    for turn in range(1, times + 1):
        old, new = (turn - 1) % 2, turn % 2
        compiled_spies.retire(sites[new], False)
        swap(worker, tables[new])
        compiled_spies.retire(sites[old], True)
        if compiled_spies.wrongs(sites[old]):
            break
        if turn % 16 == 0:  # let it run a while
            wait_until_used(sites[new])
    return sum(compiled_spies.wrongs(site) for site in sites)


def test_after_publish_no_pass_uses_the_old_table() -> None:
    worker = Worker()
    with running(worker):
        assert swap_tables(worker, Worker.publish, SWAPS) == 0
    assert compiled_spies.seen(0) > 0
    assert compiled_spies.seen(1) > 0


def test_without_the_wait_the_old_table_is_found_in_use() -> None:
    """Else the test before this one could not fail."""

    def only_swap(worker: Worker, table: Block) -> None:
        worker.block.write(at.WORKER_TABLE, table.address)

    worker = Worker()
    with running(worker):
        assert swap_tables(worker, only_swap, 100 * SWAPS) > 0


def test_a_table_may_be_overwritten_once_it_is_not_the_workers() -> None:
    """A freed table would hold anything; here it holds entries that nobody may visit."""
    worker, trap = Worker(), 5
    compiled_spies.retire(trap, True)
    with running(worker):
        for _ in range(SWAPS // 3):
            old = worker.table
            worker.publish(compiled_spies.table_of([compiled_spies.Entry(port=0) for _ in range(2)]))
            for index in range(old.read(at.TABLE_COUNT)):
                old.write(at.TABLE_ENTRIES + 8 * index, compiled_spies.Entry(port=trap).address)
    assert compiled_spies.seen(trap) == 0
    assert compiled_spies.seen(0) > 0


# Words


def test_after_publish_word_no_worker_uses_the_old_value() -> None:
    """Two workers poll the same VF, which is exchanged for another one under them."""
    workers = [Worker(), Worker()]
    context, entries = context_of(*workers), [compiled_spies.Entry(port=0), compiled_spies.Entry(port=0)]
    port = entries[0].port
    entries[1].write(at.ENTRY_PORT, port.address)
    for worker, entry in zip(workers, entries, strict=True):
        worker.table = compiled_spies.table_of([entry])
        worker.block.write(at.WORKER_TABLE, worker.table.address)
    with running(*workers):
        for turn in range(1, SWAPS // 3):
            old, new = (turn - 1) % 2, turn % 2
            compiled_spies.retire(new, False)
            publish_word(context.address, port.address + at.PORT_ID, new + 1)
            compiled_spies.retire(old, True)
    assert compiled_spies.wrongs(0) == compiled_spies.wrongs(1) == 0
    assert compiled_spies.seen(0) > 0
    assert compiled_spies.seen(1) > 0


# Who need not be waited for


@pytest.mark.parametrize("sequence", [0, 2, 2**40])
def test_who_is_outside_a_pass_is_not_waited_for(sequence: int) -> None:
    block = Block(at.WORKER_SIZE)
    block.write(at.WORKER_SEQUENCE, sequence)
    leave_pass(block.address)
    assert block.read(at.WORKER_SEQUENCE) == sequence


@pytest.mark.parametrize("later", [8, 9], ids=["outside", "in the next pass"])
def test_a_pass_under_way_is_waited_for_and_no_longer(later: int) -> None:
    block = Block(at.WORKER_SIZE)
    block.write(at.WORKER_SEQUENCE, 7)
    waiter = threading.Thread(target=leave_pass, args=(block.address,))
    waiter.start()
    time.sleep(0.05)
    assert waiter.is_alive(), "it did not wait"
    block.write(at.WORKER_SEQUENCE, later)
    waiter.join()


def test_a_sleeping_worker_costs_the_publisher_nothing() -> None:
    worker = Worker(longest_sleep_us=300_000)
    with running(worker):
        asleep = wait_for("the worker to sleep long", lambda: is_asleep(worker))
        for _ in range(1000):
            worker.publish(compiled_spies.table_of([]))
        # Had each waited for a pass, there would have been a thousand of them.
        assert worker.passes() - asleep < 100


def is_asleep(worker: Worker) -> int:
    """Its number of passes if that stands still, else 0."""
    before = worker.passes()
    time.sleep(0.03)
    return before if worker.passes() == before and worker.sequence() % 2 == 0 else 0


def test_a_stopped_worker_costs_the_publisher_nothing_and_may_start_again() -> None:
    worker = Worker()
    with running(worker):
        worker.publish(compiled_spies.table_of([compiled_spies.Entry(port=0)]))
    passes, sequence = worker.passes(), worker.sequence()
    assert sequence == 2 * passes
    for _ in range(1000):
        worker.publish(compiled_spies.table_of([]))
    with running(worker):
        worker.publish(compiled_spies.table_of([]))
    assert worker.passes() > passes
    assert worker.sequence() == 2 * worker.passes()


# Callbacks


@pytest.fixture
def guests() -> Iterator[Block]:
    """The guest blocks of three sockets whose names the fake of rte_vhost gives to devices 0 to 2."""
    block, event_fd = Block(3 * at.GUEST_SIZE), os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    for vid in range(3):
        block.write_bytes(vid * at.GUEST_SIZE + at.GUEST_PATH, compiled_spies.path_of(vid) + b"\0")
        block.write(vid * at.GUEST_SIZE + at.GUEST_MOST_LOST, MOST_LOST)
    descriptors.claim()
    before = CALLBACK_CONTEXT.read_bytes(0, at.CONTEXT_SIZE)
    CALLBACK_CONTEXT.write(at.CONTEXT_GUESTS, block.address)
    CALLBACK_CONTEXT.write(at.CONTEXT_GUEST_COUNT, 3)
    CALLBACK_CONTEXT.write(at.CONTEXT_EVENT_FD, event_fd)
    CALLBACK_CONTEXT.write(at.CONTEXT_MOST_FDS, 1 << 20)
    yield block
    CALLBACK_CONTEXT.write_bytes(0, before)
    os.close(event_fd)


def events() -> list[tuple[int, int]]:
    """All that was pushed since the ring was empty."""
    slots = [at.EVENTS + at.EVENT_SIZE * index for index in range(CALLBACK_CONTEXT.read(at.EVENTS_HEAD))]
    pairs = [CALLBACK_CONTEXT.read(slot + 8) for slot in slots]
    return [(word >> 32, word & 0xFFFFFFFF) for word in pairs]


libc = ctypes.PyDLL(None)
"""Calls through it hold the GIL, so that whatever needs the GIL meanwhile waits for ever."""


def on_a_thread_of_c(address: int, vid: int) -> int:
    """Runs machine code on a thread that Python does not know, while this one holds the GIL: what it returned."""
    thread, result = ctypes.c_ulong(), ctypes.c_void_p()
    create, join = libc.pthread_create, libc.pthread_join
    create.argtypes = [ctypes.c_void_p] * 4
    join.argtypes = [ctypes.c_ulong, ctypes.c_void_p]
    assert create(ctypes.addressof(thread), None, address, vid) == 0
    assert join(thread, ctypes.addressof(result)) == 0
    return ctypes.c_int32((result.value or 0) & 0xFFFFFFFF).value


@pytest.mark.parametrize("name", CALLBACKS)
def test_a_callback_returns_while_python_holds_the_gil(name: str, guests: Block) -> None:
    worker = Worker()
    point(CALLBACK_CONTEXT, worker)
    worker.table = compiled_spies.table_of([compiled_spies.Entry(port=0, guest=guests.address)])
    worker.block.write(at.WORKER_TABLE, worker.table.address)
    with running(worker):
        for _ in range(200):
            on_a_thread_of_c(CALLBACKS[name].address, 0)


@pytest.mark.parametrize("direction", [at.VM_TO_VF, at.VF_TO_VM])
def test_after_destroy_device_no_worker_uses_the_guest(direction: int, guests: Block) -> None:
    """Takes packets from it, or, since no VF is there, fetches its ring ahead."""
    workers = [Worker(), Worker()]
    point(CALLBACK_CONTEXT, *workers)
    for worker in workers:
        worker.table = compiled_spies.table_of([compiled_spies.Entry(port=None, guest=guests.address + at.GUEST_SIZE)])
        entry = worker.table.read(at.TABLE_ENTRIES)
        ctypes.c_int64.from_address(entry + at.ENTRY_DIRECTION).value = direction
        worker.block.write(at.WORKER_TABLE, worker.table.address)
    vid, site = 1, compiled_spies.GUESTS + 1
    with running(*workers):
        for turn in range(SWAPS // 10):
            compiled_spies.retire(site, False)
            assert on_a_thread_of_c(CALLBACKS["new_device"].address, vid) == 0
            if turn % 16 == 0:
                wait_until_used(site)
            on_a_thread_of_c(CALLBACKS["destroy_device"].address, vid)
            compiled_spies.retire(site, True)
    assert compiled_spies.wrongs(site) == 0
    assert compiled_spies.seen(site) > 0


def test_a_guest_comes_and_goes(guests: Block) -> None:
    def words(vid: int) -> tuple[int, ...]:
        names = (at.GUEST_VID, at.GUEST_FEATURES, at.GUEST_CONNECTS, at.GUEST_RX_QUEUES, at.GUEST_TX_QUEUES)
        return tuple(guests.read(vid * at.GUEST_SIZE + name) for name in names)

    call = {name: ctypes.CFUNCTYPE(_int, _int, ctypes.c_uint64, _int)(each.address) for name, each in CALLBACKS.items()}
    logging = compiled_spies.FEATURES | 1 << 26
    assert call["new_connection"](2, 0, 0) == 0
    assert guests.read(2 * at.GUEST_SIZE + at.GUEST_PEER) == 3
    for vring in (0, 1, 2):
        assert call["vring_state_changed"](2, vring, 1) == 0
    assert call["new_device"](2, 0, 0) == 0
    assert words(2) == (3, compiled_spies.FEATURES, 1, 0b11, 0b1)
    assert guests.read(2 * at.GUEST_SIZE + at.GUEST_RING) == compiled_spies.RING
    assert call["vring_state_changed"](2, 2, 0) == 0
    assert call["features_changed"](2, logging, 0) == 0
    assert words(2) == (3, logging, 1, 0b01, 0b1)
    call["destroy_device"](2, 0, 0)
    assert words(2) == (0, logging, 1, 0b01, 0b1)
    call["destroy_connection"](2, 0, 0)
    assert words(2) == (0, logging, 1, 0, 0)
    assert guests.read(2 * at.GUEST_SIZE + at.GUEST_PEER) == 0
    assert call["new_device"](2, 0, 0) == 0
    assert words(2)[2] == 2
    assert words(0) == words(1) == (0, 0, 0, 0, 0)
    happened = [at.EVENT_CONNECTED, at.EVENT_FEATURES, at.EVENT_DISCONNECTED, at.EVENT_CONNECTED]
    assert events() == [(kind, 2) for kind in happened]


def test_a_second_connection_is_turned_away_and_takes_nothing_along(guests: Block) -> None:
    call = {
        name: ctypes.CFUNCTYPE(_int, _int)(CALLBACKS[name].address) for name in ("new_connection", "destroy_connection")
    }
    assert call["new_connection"](1) == 0
    assert call["new_connection"](1) == -1
    peer = at.GUEST_SIZE + at.GUEST_PEER
    assert guests.read(peer) == 2
    guests.write(peer, 8)  # somebody else's device
    call["destroy_connection"](1)
    assert guests.read(peer) == 8


@pytest.mark.parametrize("vid", [3, 9, -1])
def test_a_device_of_nobodys_socket_changes_nothing(vid: int, guests: Block) -> None:
    before = guests.read_bytes(0, guests.size)
    for name, each in CALLBACKS.items():
        answer = ctypes.CFUNCTYPE(_int, _int, ctypes.c_uint64, _int)(each.address)(vid, 0, 1)
        if name == "new_device":
            assert answer == -1
    assert guests.read_bytes(0, guests.size) == before
    assert events() == []
