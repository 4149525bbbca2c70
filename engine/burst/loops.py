"""The hot loop: one worker's passes over its table, compiled, without the interpreter, locks or allocation.

A pass visits each entry, and the busy ones more than once. At each visit, a turn, an entry takes at most one burst and
hands it on; what the receiver does not take waits in the entry and is offered first in the next turn, so nothing is
reordered. While something waits nothing new is received: overload is dropped by the NIC, or waits in the guest's own
ring, where it costs nothing.
"""

from __future__ import annotations

from numba import cfunc, njit, types

from engine.burst import layout as at
from engine.burst.capture import capture
from engine.burst.checksum import finish_checksums
from engine.burst.counting import (
    FP_SIZE,
    close_up,
    count,
    drop,
    drop_mbufs,
    receive_from_vf,
    recycle,
    total_bytes,
)
from engine.burst.intrinsics import (
    call_burst,
    load64,
    load_acquire,
    rdtsc,
    store64,
)
from engine.burst.kicks import GUEST_RX, GUEST_TX, ask_for_none
from engine.burst.quiesce import end_pass, enter_pass
from engine.burst.rest import breathe, rest
from engine.burst.segment import any_long, cut, hold, ready_all_for_nic, sift
from engine.burst.service import serve
from engine.burst.spread import drop_stages, enqueue_burst, list_active, spread
from engine.dpdk import installed
from engine.dpdk.layout import VHOST_F_LOG_ALL, VIRTIO_F_RING_PACKED

BURST = at.BURST
_FP = installed.LAYOUT.fp_ops
FP_TX, FP_TXQ = _FP.tx_pkt_burst, _FP.txq_data
FP_PREPARE = _FP.tx_pkt_prepare
UNBOUNDED = (1 << VHOST_F_LOG_ALL) | (1 << VIRTIO_F_RING_PACKED)
"""With one of these features rte_vhost_avail_entries is wrong (packed rings) or unsafe (dirty logging)."""
FIRST_QUEUE = 1
"""The mask of a guest that has its first queue alone; one that says nothing (0) is served like it."""

_i32, _i64 = types.int32, types.int64
dequeue_burst = types.ExternalFunction("rte_vhost_dequeue_burst", types.uint16(_i32, _i32, _i64, _i64, _i32))
avail_entries = types.ExternalFunction("rte_vhost_avail_entries", types.uint16(_i32, _i32))
sched_setaffinity = types.ExternalFunction("rte_thread_set_affinity", types.int32(_i64))
prctl = types.ExternalFunction("prctl", types.int32(_i32, _i64))
PR_SET_TIMERSLACK = 29
BREATH_LEAST = 4
"""Fewer packets come singly: a single one's answer shall not wait."""
FURTHER_PACKETS = BURST
"""So many packets for each entry of its table a worker moves between two looks at all of them. Looking at an idle entry
costs about as much as moving one packet, so idle entries take a few hundredths of a busy worker's time."""
TIMED_PASSES = 11
"""One pass in so many is timed, and stands for all of them: two looks at the clock are a fifth of a pass over one idle
relay, and a packet waits for them. A prime, so as not to keep step with bursts and rings, which are powers of 2."""


@njit(cache=True)
def keep(entry: int, first: int, last: int) -> None:
    """What was not taken waits in the entry."""
    close_up(entry + at.ENTRY_MBUFS, entry + at.ENTRY_WAITING, first, last)


@njit(cache=True)
def send_to_guest(entry: int, guest: int, packets: int, size: int) -> int:
    """Copies the entry's first packets, of `size` bytes, to the guest; what it has no room for waits."""
    mbufs = entry + at.ENTRY_MBUFS
    sent = _i64(enqueue_burst(guest - 1, GUEST_RX, mbufs, packets))
    if sent < packets:
        size -= total_bytes(mbufs, sent, packets)
    # A packet may take several buffers of the ring: when one had to wait, the ring is asked again.
    store64(entry + at.ENTRY_ROOM, load64(entry + at.ENTRY_ROOM) - sent if sent == packets else 0)
    count(entry + at.TX, sent, size)
    recycle(entry, mbufs, sent)
    keep(entry, sent, packets)
    return sent


@njit(cache=True)
def room_of(entry: int, guest_block: int, guest: int) -> int:
    """How many packets to receive for the guest, a burst at most.

    Room that its ring has said it has stays until we use it, so it is asked once in several bursts, and not at all
    while nothing comes.
    """
    if load_acquire(guest_block + at.GUEST_FEATURES) & UNBOUNDED != 0:
        return BURST
    room = load64(entry + at.ENTRY_ROOM)
    if room < BURST:
        room = _i64(avail_entries(guest - 1, GUEST_RX))
        store64(entry + at.ENTRY_ROOM, room)
    return min(room, BURST)


@njit(cache=True)
def vf_to_vm(entry: int, fp_ops: int) -> int:
    """One turn of VF to VM: how many packets moved."""
    port_id = load_acquire(load64(entry + at.ENTRY_PORT) + at.PORT_ID)
    guest_block = load64(entry + at.ENTRY_GUEST)
    guest = load_acquire(guest_block + at.GUEST_VID)
    waiting = load64(entry + at.ENTRY_WAITING)
    if guest == 0:
        store64(entry + at.ENTRY_ROOM, 0)
        store64(entry + at.ENTRY_MASK, 0)
        staged = drop_stages(entry, at.GUEST_ABSENT)
        if staged > 0:
            return staged
        if waiting == 0 and port_id > 0:
            waiting = receive_from_vf(entry, fp_ops, port_id, BURST)
            count(entry + at.RX, waiting, total_bytes(entry + at.ENTRY_MBUFS, 0, waiting))
        if waiting > 0:
            drop(entry, at.GUEST_ABSENT, waiting)
        return waiting
    mask = load_acquire(guest_block + at.GUEST_RX_QUEUES)
    if mask > FIRST_QUEUE or load64(entry + at.ENTRY_STAGED) > 0:
        return spread(entry, fp_ops, port_id, guest, mask)
    if waiting > 0:
        return send_to_guest(entry, guest, waiting, total_bytes(entry + at.ENTRY_MBUFS, 0, waiting))
    if port_id == 0:
        return 0
    room = room_of(entry, guest_block, guest)
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
def prepare(entry: int, fp: int, packets: int) -> int:
    """Lets the driver prepare the entry's first packets for its NIC: how many remain. Those that it refuses could stop
    the NIC's queue for good, so they are dropped."""
    mbufs, done = entry + at.ENTRY_MBUFS, 0
    while load64(fp + FP_PREPARE) != 0 and done < packets:
        done += call_burst(load64(fp + FP_PREPARE), load64(load64(fp + FP_TXQ)), mbufs + 8 * done, packets - done)
        if done < packets:
            drop_mbufs(entry, at.VF_UNFIT, mbufs + 8 * done, 1)
            packets -= 1
            for index in range(done, packets):
                store64(mbufs + 8 * index, load64(mbufs + 8 * (index + 1)))
    return packets


@njit(cache=True)
def finish(entry: int, fp_ops: int, port_id: int, packets: int) -> int:
    """Does what the guest has left open in the entry's first packets: how many remain."""
    who = load64(entry + at.ENTRY_CHECKSUM)
    if who == at.SOFTWARE:
        finish_checksums(entry + at.ENTRY_MBUFS, packets)
    elif who == at.HARDWARE:
        if load64(entry + at.ENTRY_SEGMENTS) == at.HARDWARE:
            ready_all_for_nic(entry + at.ENTRY_MBUFS, packets)
        packets = prepare(entry, fp_ops + (port_id - 1) * FP_SIZE, packets)
    return packets


@njit(cache=True)
def finish_and_send(entry: int, fp_ops: int, port_id: int, packets: int, size: int) -> None:
    """Hands the entry's first packets, of `size` bytes, to the VF as the guest wants them."""
    left = finish(entry, fp_ops, port_id, packets)
    if left < packets:
        size = total_bytes(entry + at.ENTRY_MBUFS, 0, left)
    if left > 0:
        send_to_vf(entry, fp_ops, port_id, left, size)


@njit(cache=True)
def cut_and_send(entry: int, fp_ops: int, port_id: int, pool: int) -> int:
    """A burst of what the frames give that the entry holds to cut them: how many packets."""
    packets = cut(entry, pool)
    finish_and_send(entry, fp_ops, port_id, packets, total_bytes(entry + at.ENTRY_MBUFS, 0, packets))
    return packets


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
    pool = load64(port_block + at.PORT_POOL) if port_id > 0 else drain_pool
    if load64(entry + at.ENTRY_STAGED) > 0:
        return cut_and_send(entry, fp_ops, port_id, pool) if port_id > 0 else drop_stages(entry, at.VF_ABSENT)
    if guest == 0:
        store64(entry + at.ENTRY_MASK, 0)
        return 0
    mask = load_acquire(load64(entry + at.ENTRY_GUEST) + at.GUEST_TX_QUEUES)
    if mask > FIRST_QUEUE:
        return gather(entry, fp_ops, port_id, guest, pool, mask)
    return take_from_guest(entry, fp_ops, port_id, guest, pool, GUEST_TX)


@njit(cache=True)
def take_from_guest(entry: int, fp_ops: int, port_id: int, guest: int, pool: int, vring: int) -> int:
    """A burst from one of the guest's queues to the VF, or dropped where there is none: how many packets came."""
    mbufs = entry + at.ENTRY_MBUFS
    received = _i64(dequeue_burst(guest - 1, vring, pool, mbufs, BURST))
    if received == 0:
        return 0
    capture(entry, mbufs, received)
    size = total_bytes(mbufs, 0, received)
    count(entry + at.RX, received, size)
    if port_id == 0:
        drop(entry, at.VF_ABSENT, received)
        return received
    if load64(entry + at.ENTRY_SEGMENTS) == at.NONE:
        finish_and_send(entry, fp_ops, port_id, received, size)
    else:
        sift_and_send(entry, fp_ops, port_id, pool, received)
    return received


@njit(cache=True)
def sift_and_send(entry: int, fp_ops: int, port_id: int, pool: int, received: int) -> None:
    """Sends what a guest has handed over that may leave the cutting of long frames to others."""
    mbufs = entry + at.ENTRY_MBUFS
    packets = sift(entry, received)
    if load64(entry + at.ENTRY_SEGMENTS) == at.SOFTWARE and any_long(mbufs, packets):
        hold(entry, packets)
        cut_and_send(entry, fp_ops, port_id, pool)
    else:
        finish_and_send(entry, fp_ops, port_id, packets, total_bytes(mbufs, 0, packets))


@njit(cache=True)
def gather(entry: int, fp_ops: int, port_id: int, guest: int, pool: int, mask: int) -> int:
    """One turn of VM to VF over the guest's queues in `mask`: a burst of each, until the VF is full.

    The next turn begins behind the queue that was served last, so that a slow VF is shared evenly.
    """
    if mask != load64(entry + at.ENTRY_MASK):
        ask_for_none(guest - 1, mask, GUEST_TX)
        list_active(entry, mask)
    moved, last, active = 0, load64(entry + at.ENTRY_TURN), load64(entry + at.ENTRY_ACTIVE_COUNT)
    for _ in range(active):
        last = last + 1 if last + 1 < active else 0
        queue = load64(entry + at.ENTRY_ACTIVE + 8 * last)
        moved += take_from_guest(entry, fp_ops, port_id, guest, pool, 2 * queue + GUEST_TX)
        if load64(entry + at.ENTRY_WAITING) + load64(entry + at.ENTRY_STAGED) > 0:
            break
    store64(entry + at.ENTRY_TURN, last)
    return moved


@njit(cache=True)
def turn(entry: int, fp_ops: int, drain_pool: int) -> int:
    if load64(entry + at.ENTRY_DIRECTION) == at.VF_TO_VM:
        moved = vf_to_vm(entry, fp_ops)
    else:
        moved = vm_to_vf(entry, fp_ops, drain_pool)
    return moved if moved > 0 else serve(entry, fp_ops)


@njit(cache=True)
def charged_turn(entry: int, fp_ops: int, drain_pool: int, weight: int, before: int) -> tuple[int, int]:
    """A turn that began at `before` (TSC): how many packets moved, and when it ended. If any did it is charged to the
    entry, `weight` times; with 0 no clock is read, and nothing charged."""
    packets = turn(entry, fp_ops, drain_pool)
    if weight == 0:
        return packets, 0
    after = rdtsc()
    if packets > 0:
        store64(entry + at.BUSY_CYCLES, load64(entry + at.BUSY_CYCLES) + weight * (after - before))
    return packets, after


@njit(cache=True)
def further_turns(busy: int, most: int, fp_ops: int, drain_pool: int, weight: int, now: int) -> int:
    """Turns for the entries in the chain `busy`, until none gives a whole burst or `most` packets moved: how many
    did."""
    moved = 0
    while busy != 0 and moved < most:
        entry, busy = busy, 0
        while entry != 0:
            following = load64(entry + at.ENTRY_NEXT)
            packets, now = charged_turn(entry, fp_ops, drain_pool, weight, now)
            moved += packets
            if packets >= BURST:
                store64(entry + at.ENTRY_NEXT, busy)
                busy = entry
            entry = following
    return moved


@njit(cache=True)
def one_pass(table: int, fp_ops: int, drain_pool: int, weight: int) -> int:
    """Visits every entry, and then again those that moved a whole burst: how many packets moved.

    So a busy entry does not pay a look at all the idle ones for each of its bursts. `weight` says how many passes
    this one's cycles are charged for, 0 that they are not.
    """
    moved, busy = 0, 0
    now = rdtsc() if weight > 0 else 0
    entries = load64(table + at.TABLE_COUNT)
    for index in range(entries):
        entry = load64(table + at.TABLE_ENTRIES + 8 * index)
        packets, now = charged_turn(entry, fp_ops, drain_pool, weight, now)
        moved += packets
        if packets >= BURST:
            store64(entry + at.ENTRY_NEXT, busy)
            busy = entry
    return moved + further_turns(busy, entries * FURTHER_PACKETS, fp_ops, drain_pool, weight, now)


@cfunc(types.int32(types.int64), cache=True)
def work(worker: int) -> int:
    """A worker's life, run on an lcore: passes until it is told to stop."""
    sched_setaffinity(worker + at.WORKER_CPUSET)
    prctl(PR_SET_TIMERSLACK, 1)  # else the kernel adds 50 us to each sleep
    fp_ops = load64(worker + at.WORKER_FP_OPS)
    drain_pool = load64(worker + at.WORKER_DRAIN_POOL)
    sequence = load64(worker + at.WORKER_SEQUENCE)
    idle_since, untimed = 0, 0
    while load_acquire(worker + at.WORKER_STOP) == 0:
        weight = 0 if untimed > 0 else TIMED_PASSES
        untimed = untimed - 1 if untimed > 0 else TIMED_PASSES - 1
        enter_pass(worker, sequence)
        moved = one_pass(load_acquire(worker + at.WORKER_TABLE), fp_ops, drain_pool, weight)
        end_pass(worker, sequence)
        sequence += 2
        store64(worker + at.WORKER_PASSES, load64(worker + at.WORKER_PASSES) + 1)
        if moved == 0:
            idle_since = rest(worker, idle_since)
        else:
            idle_since = 0
            if BREATH_LEAST <= moved < BURST:
                breathe()
    return 0


@cfunc(types.void(types.int64, types.int64), cache=True)
def drop_waiting(entry: int, counter: int) -> None:
    """For Python: drops what waits in an entry that no table has."""
    drop(entry, counter, load64(entry + at.ENTRY_WAITING))
    drop_stages(entry, counter)


@cfunc(types.int64(), cache=True)
def read_tsc() -> int:
    """For Python: the clock in which busy cycles are counted."""
    return rdtsc()
