"""The hot loop: one worker's passes over its table, compiled, without the interpreter, locks or allocation.

A pass visits each entry once. An entry takes at most one burst and hands it on; what the receiver does not take waits
in the entry and is offered first in the next pass, so nothing is reordered. While something waits nothing new is
received: overload is dropped by the NIC, or waits in the guest's own ring, where it costs nothing.
"""

from __future__ import annotations

from numba import cfunc, njit, types

from engine.burst import layout as at
from engine.burst.intrinsics import (
    call_burst,
    load32,
    load64,
    load_acquire,
    pause,
    rdtsc,
    store64,
)
from engine.burst.quiesce import end_pass, enter_pass, usleep
from engine.dpdk import installed
from engine.dpdk.layout import VHOST_F_LOG_ALL, VIRTIO_F_RING_PACKED

BURST = at.BURST
_FP, _MBUF = installed.LAYOUT.fp_ops, installed.LAYOUT.mbuf
FP_SIZE, FP_RX, FP_RXQ = _FP.size, _FP.rx_pkt_burst, _FP.rxq_data
FP_TX, FP_TXQ = _FP.tx_pkt_burst, _FP.txq_data
PKT_LEN = _MBUF.pkt_len
UNBOUNDED = (1 << VHOST_F_LOG_ALL) | (1 << VIRTIO_F_RING_PACKED)
"""With one of these features rte_vhost_avail_entries is wrong (packed rings) or unsafe (dirty logging)."""
GUEST_RX, GUEST_TX = 0, 1
"""Queue numbers of the first pair as the guest names them."""

_i32, _i64 = types.int32, types.int64
enqueue_burst = types.ExternalFunction("rte_vhost_enqueue_burst", types.uint16(_i32, _i32, _i64, _i32))
dequeue_burst = types.ExternalFunction("rte_vhost_dequeue_burst", types.uint16(_i32, _i32, _i64, _i64, _i32))
avail_entries = types.ExternalFunction("rte_vhost_avail_entries", types.uint16(_i32, _i32))
free_mbufs = types.ExternalFunction("rte_pktmbuf_free_bulk", types.void(_i64, _i32))
sched_setaffinity = types.ExternalFunction("rte_thread_set_affinity", types.int32(_i64))
prctl = types.ExternalFunction("prctl", types.int32(_i32, _i64))
PR_SET_TIMERSLACK = 29


@njit(cache=True)
def count(counter: int, packets: int, size: int) -> None:
    store64(counter, load64(counter) + packets)
    store64(counter + 8, load64(counter + 8) + size)


@njit(cache=True)
def total_bytes(mbufs: int, first: int, last: int) -> int:
    """Sum of the packet lengths of mbufs `first` to `last - 1`; they must not have been handed on."""
    size = 0
    for index in range(first, last):
        size += load32(load64(mbufs + 8 * index) + PKT_LEN)
    return size


@njit(cache=True)
def keep(entry: int, first: int, last: int) -> None:
    """Moves what was not taken to the front, where it waits in its order."""
    mbufs = entry + at.ENTRY_MBUFS
    if first > 0:
        for index in range(first, last):
            store64(mbufs + 8 * (index - first), load64(mbufs + 8 * index))
    store64(entry + at.ENTRY_WAITING, last - first)


@njit(cache=True)
def drop(entry: int, counter: int, packets: int) -> None:
    """Frees the first `packets` mbufs of the entry, counted as dropped."""
    mbufs = entry + at.ENTRY_MBUFS
    count(entry + counter, packets, total_bytes(mbufs, 0, packets))
    free_mbufs(mbufs, packets)
    store64(entry + at.ENTRY_WAITING, 0)


@njit(cache=True)
def receive_from_vf(entry: int, fp_ops: int, port_id: int, room: int) -> int:
    """Up to `room` packets into the entry's mbufs, uncounted: how many came."""
    fp = fp_ops + (port_id - 1) * FP_SIZE
    return call_burst(load64(fp + FP_RX), load64(load64(fp + FP_RXQ)), entry + at.ENTRY_MBUFS, room)


@njit(cache=True)
def send_to_guest(entry: int, guest: int, packets: int, size: int) -> int:
    """Copies the entry's first packets, of `size` bytes, to the guest; what it has no room for waits."""
    mbufs = entry + at.ENTRY_MBUFS
    sent = _i64(enqueue_burst(guest - 1, GUEST_RX, mbufs, packets))
    if sent < packets:
        size -= total_bytes(mbufs, sent, packets)
    count(entry + at.TX, sent, size)
    free_mbufs(mbufs, sent)
    keep(entry, sent, packets)
    return sent


@njit(cache=True)
def vf_to_vm(entry: int, fp_ops: int) -> int:
    """One turn of VF to VM: how many packets moved."""
    port_id = load_acquire(load64(entry + at.ENTRY_PORT) + at.PORT_ID)
    guest_block = load64(entry + at.ENTRY_GUEST)
    guest = load_acquire(guest_block + at.GUEST_VID)
    waiting = load64(entry + at.ENTRY_WAITING)
    if guest == 0:
        if waiting == 0 and port_id > 0:
            waiting = receive_from_vf(entry, fp_ops, port_id, BURST)
            count(entry + at.RX, waiting, total_bytes(entry + at.ENTRY_MBUFS, 0, waiting))
        if waiting > 0:
            drop(entry, at.GUEST_ABSENT, waiting)
        return waiting
    if waiting > 0:
        return send_to_guest(entry, guest, waiting, total_bytes(entry + at.ENTRY_MBUFS, 0, waiting))
    if port_id == 0:
        return 0
    room = _i64(BURST)
    if load_acquire(guest_block + at.GUEST_FEATURES) & UNBOUNDED == 0:
        room = min(room, _i64(avail_entries(guest - 1, GUEST_RX)))
    if room == 0:
        return 0
    received = receive_from_vf(entry, fp_ops, port_id, room)
    if received > 0:
        size = total_bytes(entry + at.ENTRY_MBUFS, 0, received)
        count(entry + at.RX, received, size)
        send_to_guest(entry, guest, received, size)
    return received


@njit(cache=True)
def send_to_vf(entry: int, fp_ops: int, port_id: int, packets: int, size: int) -> int:
    """Hands the entry's first packets, of `size` bytes, to the VF; what it has no room for waits.

    An mbuf that was taken may be freed at any time: its length is read before, and of those not taken after.
    """
    fp = fp_ops + (port_id - 1) * FP_SIZE
    mbufs = entry + at.ENTRY_MBUFS
    sent = call_burst(load64(fp + FP_TX), load64(load64(fp + FP_TXQ)), mbufs, packets)
    if sent < packets:
        size -= total_bytes(mbufs, sent, packets)
    count(entry + at.TX, sent, size)
    keep(entry, sent, packets)
    return sent


@njit(cache=True)
def vm_to_vf(entry: int, fp_ops: int, drain_pool: int) -> int:
    """One turn of VM to VF: how many packets moved."""
    port_block = load64(entry + at.ENTRY_PORT)
    port_id = load_acquire(port_block + at.PORT_ID)
    guest = load_acquire(load64(entry + at.ENTRY_GUEST) + at.GUEST_VID)
    waiting = load64(entry + at.ENTRY_WAITING)
    if waiting > 0:
        if port_id == 0:
            drop(entry, at.VF_ABSENT, waiting)
            return waiting
        return send_to_vf(entry, fp_ops, port_id, waiting, total_bytes(entry + at.ENTRY_MBUFS, 0, waiting))
    if guest == 0:
        return 0
    pool = load64(port_block + at.PORT_POOL) if port_id > 0 else drain_pool
    mbufs = entry + at.ENTRY_MBUFS
    received = _i64(dequeue_burst(guest - 1, GUEST_TX, pool, mbufs, BURST))
    if received == 0:
        return 0
    size = total_bytes(mbufs, 0, received)
    count(entry + at.RX, received, size)
    if port_id == 0:
        drop(entry, at.VF_ABSENT, received)
    else:
        send_to_vf(entry, fp_ops, port_id, received, size)
    return received


@njit(cache=True)
def turn(entry: int, fp_ops: int, drain_pool: int) -> int:
    if load64(entry + at.ENTRY_DIRECTION) == at.VF_TO_VM:
        return vf_to_vm(entry, fp_ops)
    return vm_to_vf(entry, fp_ops, drain_pool)


@njit(cache=True)
def one_pass(table: int, fp_ops: int, drain_pool: int) -> int:
    """Visits every entry once: how many packets moved. Cycles are charged to the entries that moved some."""
    moved = 0
    before = rdtsc()
    for index in range(load64(table + at.TABLE_COUNT)):
        entry = load64(table + at.TABLE_ENTRIES + 8 * index)
        packets = turn(entry, fp_ops, drain_pool)
        after = rdtsc()
        if packets > 0:
            store64(entry + at.BUSY_CYCLES, load64(entry + at.BUSY_CYCLES) + after - before)
            moved += packets
        before = after
    return moved


@njit(cache=True, error_model="numpy")
def rest(worker: int, idle_since: int) -> None:
    """What a worker does after a pass in which nothing moved: pause, then sleep ever longer up to its bound.

    Its division must not be able to raise, which would take the GIL: with Numpy's rules n // 0 is 0.
    """
    longest_us = load_acquire(worker + at.WORKER_SLEEP_US)
    now = rdtsc()
    idle_cycles = now - idle_since
    if longest_us == 0 or idle_cycles < load_acquire(worker + at.WORKER_SPIN_CYCLES):
        pause()
        return
    # A quarter of the time idle so far: what just went quiet is looked after sooner than what sleeps since long.
    usleep(max(1, min(longest_us, idle_cycles // (4 * load_acquire(worker + at.WORKER_CYCLES_PER_US)))))
    slept = load64(worker + at.WORKER_SLEPT_CYCLES) + rdtsc() - now
    store64(worker + at.WORKER_SLEPT_CYCLES, slept)


@cfunc(types.int32(types.int64), cache=True)
def work(worker: int) -> int:
    """A worker's life, run on an lcore: passes until it is told to stop."""
    sched_setaffinity(worker + at.WORKER_CPUSET)
    prctl(PR_SET_TIMERSLACK, 1)  # else the kernel adds 50 us to each sleep
    fp_ops = load64(worker + at.WORKER_FP_OPS)
    drain_pool = load64(worker + at.WORKER_DRAIN_POOL)
    sequence = load64(worker + at.WORKER_SEQUENCE)
    idle_since = rdtsc()
    while load_acquire(worker + at.WORKER_STOP) == 0:
        enter_pass(worker, sequence)
        moved = one_pass(load_acquire(worker + at.WORKER_TABLE), fp_ops, drain_pool)
        end_pass(worker, sequence)
        sequence += 2
        store64(worker + at.WORKER_PASSES, load64(worker + at.WORKER_PASSES) + 1)
        if moved > 0:
            idle_since = rdtsc()
        else:
            rest(worker, idle_since)
    return 0


@cfunc(types.void(types.int64, types.int64), cache=True)
def drop_waiting(entry: int, counter: int) -> None:
    """For Python: drops what waits in an entry that no table has."""
    drop(entry, counter, load64(entry + at.ENTRY_WAITING))


@cfunc(types.int64(), cache=True)
def read_tsc() -> int:
    """For Python: the clock in which busy cycles are counted."""
    return rdtsc()
