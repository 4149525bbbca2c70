"""VF to VM: one turn of a relay's direction to its guest.

What happens in nearly every turn stands first and is compiled as one piece; whatever else may be is a call away.
"""

from __future__ import annotations

from numba import types

from engine.burst.compiled import layout as at
from engine.burst.compiled.compiling import called, inlined
from engine.burst.compiled.intrinsics import load64, load_acquire, store64
from engine.burst.counting import close_up, count, drop, receive_from_vf, recycle, total_bytes
from engine.burst.queue_spread import drop_stages, enqueue_burst, spread
from engine.burst.vhost.kicks import GUEST_RX
from engine.dpdk.layout import VHOST_F_LOG_ALL, VIRTIO_F_RING_PACKED

BURST = at.BURST
UNBOUNDED = (1 << VHOST_F_LOG_ALL) | (1 << VIRTIO_F_RING_PACKED)
"""With one of these features rte_vhost_avail_entries is wrong (packed rings) or unsafe (dirty logging)."""

_i32, _i64 = types.int32, types.int64
avail_entries = types.ExternalFunction("rte_vhost_avail_entries", types.uint16(_i32, _i32))


@inlined
def send_to_guest(entry: int, guest: int, packets: int) -> int:
    """Copies the entry's first packets to the guest; what it has no room for waits. How many bytes they are.

    They are ours until they are recycled: counted when the guest has them already.
    """
    mbufs = entry + at.ENTRY_MBUFS
    sent = _i64(enqueue_burst(guest - 1, GUEST_RX, mbufs, packets))
    # A packet may take several buffers of the ring: when one had to wait, the ring is asked again.
    store64(entry + at.ENTRY_ROOM, load64(entry + at.ENTRY_ROOM) - sent if sent == packets else 0)
    size, left = total_bytes(mbufs, 0, sent), total_bytes(mbufs, sent, packets)
    count(entry + at.TX, sent, size)
    recycle(entry, mbufs, sent)
    close_up(mbufs, entry + at.ENTRY_WAITING, sent, packets)
    return size + left


@inlined
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


@called
def without_guest(entry: int, fp_ops: int, port_id: int) -> int:
    """What comes is dropped, and what waits first: how many packets."""
    store64(entry + at.ENTRY_ROOM, 0)
    store64(entry + at.ENTRY_MASK, 0)
    staged = drop_stages(entry, at.GUEST_ABSENT)
    if staged > 0:
        return staged
    waiting = load64(entry + at.ENTRY_WAITING)
    if waiting == 0 and port_id > 0:
        waiting = receive_from_vf(entry, fp_ops, port_id, BURST)
        count(entry + at.RX, waiting, total_bytes(entry + at.ENTRY_MBUFS, 0, waiting))
    if waiting > 0:
        drop(entry, at.GUEST_ABSENT, waiting)
    return waiting


@called
def other_turn(entry: int, fp_ops: int, port_id: int, guest: int, mask: int) -> int:
    """A turn in which there is more to do, or less, than to receive for a guest with one queue."""
    if guest == 0:
        return without_guest(entry, fp_ops, port_id)
    if guest < 0:  # its memory changes: what comes waits where it is
        return 0
    if mask > at.FIRST_QUEUE or load64(entry + at.ENTRY_STAGED) > 0:
        return spread(entry, fp_ops, port_id, guest, mask)
    waiting = load64(entry + at.ENTRY_WAITING)
    if waiting > 0:
        send_to_guest(entry, guest, waiting)
    return waiting - load64(entry + at.ENTRY_WAITING)


@inlined
def vf_to_vm(entry: int, fp_ops: int) -> int:
    """One turn of VF to VM: how many packets moved."""
    port_id = load_acquire(load64(entry + at.ENTRY_PORT) + at.PORT_ID)
    guest_block = load64(entry + at.ENTRY_GUEST)
    guest = load_acquire(guest_block + at.GUEST_VID)
    mask = load_acquire(guest_block + at.GUEST_RX_QUEUES)
    waiting = load64(entry + at.ENTRY_WAITING) + load64(entry + at.ENTRY_STAGED)
    if guest <= 0 or port_id == 0 or mask > at.FIRST_QUEUE or waiting > 0:
        return other_turn(entry, fp_ops, port_id, guest, mask)
    room = room_of(entry, guest_block, guest)
    if room == 0:
        return 0
    received = receive_from_vf(entry, fp_ops, port_id, room)
    if received > 0:
        count(entry + at.RX, received, send_to_guest(entry, guest, received))
    return received
