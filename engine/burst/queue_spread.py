"""VF to VM for a guest with several queues: by flow, each queue's packets in one call.

Every enabled queue has a stage. A packet is put into its flow's stage; a stage that is full loses what comes for it,
counted, so that one queue that its guest does not serve never stops the others.
"""

from __future__ import annotations

from numba import types

from engine.burst.compiled import layout as at
from engine.burst.compiled.compiling import called
from engine.burst.compiled.intrinsics import load64, prefetch, store64
from engine.burst.counting import close_up, count, drop_mbufs, receive_from_vf, recycle, total_bytes
from engine.burst.flow import BUF_ADDR, flow_hash
from engine.burst.vhost.kicks import GUEST_RX, ask_for_none
from engine.dpdk.layout import PKTMBUF_HEADROOM

BURST = at.BURST
_i32, _i64 = types.int32, types.int64
enqueue_burst = types.ExternalFunction("rte_vhost_enqueue_burst", types.uint16(_i32, _i32, _i64, _i32))


@called
def stage_of(entry: int, queue: int) -> int:
    return entry + at.ENTRY_STAGES + 8 * at.STAGE * queue


@called
def staged_word(entry: int, queue: int) -> int:
    return entry + at.ENTRY_STAGE_COUNT + 8 * queue


@called
def drop_stage(entry: int, counter: int, queue: int) -> int:
    """Drops what waits in one stage: how many packets that were."""
    waiting = load64(staged_word(entry, queue))
    if waiting > 0:
        drop_mbufs(entry, counter, stage_of(entry, queue), waiting)
        store64(staged_word(entry, queue), 0)
        store64(entry + at.ENTRY_STAGED, load64(entry + at.ENTRY_STAGED) - waiting)
    return waiting


@called
def drop_stages(entry: int, counter: int) -> int:
    """Drops what waits in all stages: how many packets that were."""
    dropped = 0
    if load64(entry + at.ENTRY_STAGED) > 0:
        for queue in range(at.MAX_QUEUES):
            dropped += drop_stage(entry, counter, queue)
    return dropped


@called
def list_active(entry: int, mask: int) -> None:
    """Lists the queues in `mask`, so that a turn need not look for them."""
    active = 0
    for queue in range(at.MAX_QUEUES):
        if (mask >> queue) & 1 == 1:
            store64(entry + at.ENTRY_ACTIVE + 8 * active, queue)
            active += 1
    store64(entry + at.ENTRY_ACTIVE_COUNT, active)
    store64(entry + at.ENTRY_MASK, mask)


@called
def renew_active(entry: int, guest: int, mask: int) -> None:
    """Lists the queues that the guest has enabled; what waits for one that it has disabled is dropped."""
    ask_for_none(guest - 1, mask, GUEST_RX)
    list_active(entry, mask)
    for queue in range(at.MAX_QUEUES):
        if (mask >> queue) & 1 == 0:
            drop_stage(entry, at.GUEST_ABSENT, queue)


@called
def put(entry: int, queue: int, first: int, last: int) -> None:
    """Moves some of the entry's mbufs to the end of a queue's stage, or drops them when it is full."""
    waiting = load64(staged_word(entry, queue))
    end = min(last, first + at.STAGE - waiting)
    for index in range(first, end):
        store64(stage_of(entry, queue) + 8 * (waiting + index - first), load64(entry + at.ENTRY_MBUFS + 8 * index))
    store64(staged_word(entry, queue), waiting + end - first)
    store64(entry + at.ENTRY_STAGED, load64(entry + at.ENTRY_STAGED) + end - first)
    if end < last:
        drop_mbufs(entry, at.GUEST_FULL, entry + at.ENTRY_MBUFS + 8 * end, last - end)


@called
def distribute(entry: int, packets: int) -> None:
    """Puts the entry's first packets into the stages of their flows: what goes to one stage in a row, at once."""
    mbufs, active = entry + at.ENTRY_MBUFS, load64(entry + at.ENTRY_ACTIVE_COUNT)
    for index in range(packets):
        prefetch(load64(load64(mbufs + 8 * index) + BUF_ADDR) + PKTMBUF_HEADROOM)
    first, before = 0, 0
    for index in range(packets):
        # The upper half of a product with 32 random bits: a remainder without a division.
        choice = (flow_hash(load64(mbufs + 8 * index)) * active) >> 32
        if choice != before:
            put(entry, load64(entry + at.ENTRY_ACTIVE + 8 * before), first, index)
            first, before = index, choice
    put(entry, load64(entry + at.ENTRY_ACTIVE + 8 * before), first, packets)
    store64(entry + at.ENTRY_WAITING, 0)


@called
def offer(entry: int, guest: int, queue: int) -> int:
    """Copies a stage's packets to its queue; what it has no room for waits. How many were taken."""
    mbufs, waiting = stage_of(entry, queue), load64(staged_word(entry, queue))
    if waiting == 0:
        return 0
    offered = min(waiting, BURST)
    size = total_bytes(mbufs, 0, offered)
    sent = _i64(enqueue_burst(guest - 1, 2 * queue, mbufs, offered))
    if sent < offered:
        size -= total_bytes(mbufs, sent, offered)
    count(entry + at.TX, sent, size)
    recycle(entry, mbufs, sent)
    close_up(mbufs, staged_word(entry, queue), sent, waiting)
    store64(entry + at.ENTRY_STAGED, load64(entry + at.ENTRY_STAGED) - sent)
    return sent


@called
def offer_all(entry: int, guest: int) -> int:
    sent = 0
    for index in range(load64(entry + at.ENTRY_ACTIVE_COUNT)):
        sent += offer(entry, guest, load64(entry + at.ENTRY_ACTIVE + 8 * index))
    return sent


@called
def jammed(entry: int) -> bool:
    """Whether no queue takes any more: then the NIC drops what comes, which costs nothing."""
    for index in range(load64(entry + at.ENTRY_ACTIVE_COUNT)):
        if load64(staged_word(entry, load64(entry + at.ENTRY_ACTIVE + 8 * index))) < BURST:
            return False
    return True


@called
def spread(entry: int, fp_ops: int, port_id: int, guest: int, mask: int) -> int:
    """One turn of VF to VM over the guest's queues in `mask`, not 0: how many packets moved."""
    if mask != load64(entry + at.ENTRY_MASK):
        renew_active(entry, guest, mask)
    waiting = load64(entry + at.ENTRY_WAITING)
    if waiting > 0:  # from when the guest had one queue
        distribute(entry, waiting)
    moved = offer_all(entry, guest)
    if port_id == 0 or jammed(entry):
        return moved
    received = receive_from_vf(entry, fp_ops, port_id, BURST)
    if received > 0:
        count(entry + at.RX, received, total_bytes(entry + at.ENTRY_MBUFS, 0, received))
        distribute(entry, received)
        offer_all(entry, guest)
    return moved + received
