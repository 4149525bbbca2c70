"""VM to VF: one turn of a relay's direction to its VF, arranged like the other (`to_guest`)."""

from __future__ import annotations

from numba import types

from engine.burst.capture import capture
from engine.burst.checksum import finish_checksums
from engine.burst.compiled import layout as at
from engine.burst.compiled.compiling import called, inlined
from engine.burst.compiled.intrinsics import call_burst, load64, load_acquire, store64
from engine.burst.counting import FP_SIZE, FP_TX, FP_TXQ, close_up, count, drop, drop_mbufs, total_bytes
from engine.burst.queue_spread import drop_stages, list_active
from engine.burst.segment import any_long, classify, cut, hold, ready_all_for_nic
from engine.burst.vhost.kicks import GUEST_TX, ask_for_none
from engine.dpdk import installed

BURST = at.BURST
FP_PREPARE = installed.LAYOUT.fp_ops.tx_pkt_prepare

_i32, _i64 = types.int32, types.int64
dequeue_burst = types.ExternalFunction("rte_vhost_dequeue_burst", types.uint16(_i32, _i32, _i64, _i64, _i32))


@inlined
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
    close_up(mbufs, entry + at.ENTRY_WAITING, sent, packets)
    return sent


@called
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


@called
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


@called
def finish_and_send(entry: int, fp_ops: int, port_id: int, packets: int, size: int) -> None:
    """Hands the entry's first packets, of `size` bytes, to the VF as the guest wants them."""
    left = finish(entry, fp_ops, port_id, packets)
    if left < packets:
        size = total_bytes(entry + at.ENTRY_MBUFS, 0, left)
    if left > 0:
        send_to_vf(entry, fp_ops, port_id, left, size)


@called
def cut_and_send(entry: int, fp_ops: int, port_id: int, pool: int) -> int:
    """A burst of what the frames give that the entry holds to cut them: how many packets."""
    packets = cut(entry, pool)
    finish_and_send(entry, fp_ops, port_id, packets, total_bytes(entry + at.ENTRY_MBUFS, 0, packets))
    return packets


@called
def sift_and_send(entry: int, fp_ops: int, port_id: int, pool: int, received: int) -> None:
    """Sends what a guest has handed over that may leave the cutting of long frames to others."""
    mbufs = entry + at.ENTRY_MBUFS
    packets = classify(entry, received)
    if load64(entry + at.ENTRY_SEGMENTS) == at.SOFTWARE and any_long(mbufs, packets):
        hold(entry, packets)
        cut_and_send(entry, fp_ops, port_id, pool)
    else:
        finish_and_send(entry, fp_ops, port_id, packets, total_bytes(mbufs, 0, packets))


@called
def hand_on(entry: int, fp_ops: int, port_id: int, pool: int, received: int, size: int) -> None:
    """What a guest has handed over, of `size` bytes, to the VF with what the guest has left open done, or dropped where
    there is no VF."""
    if port_id == 0:
        drop(entry, at.VF_ABSENT, received)
    elif load64(entry + at.ENTRY_SEGMENTS) == at.NONE:
        finish_and_send(entry, fp_ops, port_id, received, size)
    else:
        sift_and_send(entry, fp_ops, port_id, pool, received)


@inlined
def take_from_guest(entry: int, fp_ops: int, port_id: int, guest: int, pool: int, vring: int) -> int:
    """A burst from one of the guest's queues to the VF, or dropped where there is none: how many packets came."""
    mbufs = entry + at.ENTRY_MBUFS
    received = _i64(dequeue_burst(guest - 1, vring, pool, mbufs, BURST))
    if received == 0:
        return 0
    capture(entry, mbufs, received)
    size = total_bytes(mbufs, 0, received)
    if port_id == 0 or load64(entry + at.ENTRY_SEGMENTS) + load64(entry + at.ENTRY_CHECKSUM) != at.NONE:
        hand_on(entry, fp_ops, port_id, pool, received, size)
    else:
        send_to_vf(entry, fp_ops, port_id, received, size)
    count(entry + at.RX, received, size)
    return received


@called
def gather(entry: int, fp_ops: int, port_id: int, guest: int, pool: int, mask: int) -> int:
    """One turn of VM to VF over the guest's queues in `mask`: a burst of each, until the VF is full.

    The next turn begins behind the queue that was served last, so that a slow VF is shared evenly.
    """
    if mask != load64(entry + at.ENTRY_MASK):
        ask_for_none(guest - 1, mask, GUEST_TX)
        list_active(entry, mask)
    moved, last, active = 0, load64(entry + at.ENTRY_NEXT_QUEUE), load64(entry + at.ENTRY_ACTIVE_COUNT)
    for _ in range(active):
        last = last + 1 if last + 1 < active else 0
        queue = load64(entry + at.ENTRY_ACTIVE + 8 * last)
        moved += take_from_guest(entry, fp_ops, port_id, guest, pool, 2 * queue + GUEST_TX)
        if load64(entry + at.ENTRY_WAITING) + load64(entry + at.ENTRY_STAGED) > 0:
            break
    store64(entry + at.ENTRY_NEXT_QUEUE, last)
    return moved


@called
def other_turn(entry: int, fp_ops: int, port_id: int, guest: int, mask: int, pool: int) -> int:
    """A turn in which there is more to do, or less, than to take from a guest's only queue."""
    waiting = load64(entry + at.ENTRY_WAITING)
    if waiting > 0:
        if port_id == 0:
            drop(entry, at.VF_ABSENT, waiting)
            return waiting
        return send_to_vf(entry, fp_ops, port_id, waiting, total_bytes(entry + at.ENTRY_MBUFS, 0, waiting))
    if load64(entry + at.ENTRY_STAGED) > 0:
        return cut_and_send(entry, fp_ops, port_id, pool) if port_id > 0 else drop_stages(entry, at.VF_ABSENT)
    if guest <= 0:
        store64(entry + at.ENTRY_MASK, 0)
        return 0
    return gather(entry, fp_ops, port_id, guest, pool, mask)


@inlined
def vm_to_vf(entry: int, fp_ops: int, drain_pool: int) -> int:
    """One turn of VM to VF: how many packets moved."""
    port_block = load64(entry + at.ENTRY_PORT)
    guest_block = load64(entry + at.ENTRY_GUEST)
    port_id = load_acquire(port_block + at.PORT_ID)
    guest = load_acquire(guest_block + at.GUEST_VID)
    mask = load_acquire(guest_block + at.GUEST_TX_QUEUES)
    waiting = load64(entry + at.ENTRY_WAITING) + load64(entry + at.ENTRY_STAGED)
    pool = load64(port_block + at.PORT_POOL) if port_id > 0 else drain_pool
    if guest <= 0 or mask > at.FIRST_QUEUE or waiting > 0:
        return other_turn(entry, fp_ops, port_id, guest, mask, pool)
    return take_from_guest(entry, fp_ops, port_id, guest, pool, GUEST_TX)
