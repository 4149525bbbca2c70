"""Where a guest's rings lie, as rte_vhost knows it, and reading them before a packet needs them."""

from __future__ import annotations

from numba import types

from engine.burst.compiled import layout as at
from engine.burst.compiled.compiling import called
from engine.burst.compiled.intrinsics import load16, load64, load_acquire, prefetch, stack_space
from engine.burst.vhost.kicks import GUEST_RX
from engine.dpdk import installed

_VRING = installed.LAYOUT.vring
VRING_DESC, VRING_AVAIL, VRING_USED, VRING_ENTRIES = _VRING.desc, _VRING.avail, _VRING.used, _VRING.entries
DESCRIPTOR_BYTES = 16
"""struct vring_desc, and struct vring_packed_desc."""
AVAIL_ENTRIES, AVAIL_ENTRY_BYTES = 4, 2
"""struct vring_avail: the entries lie behind flags and index."""

_i32, _i64 = types.int32, types.int64
get_vring = types.ExternalFunction("rte_vhost_get_vhost_vring", _i32(_i32, _i32, _i64))
get_vring_base = types.ExternalFunction("rte_vhost_get_vring_base", _i32(_i32, _i32, _i64, _i64))
vring_space = stack_space(_VRING.size)
bases_space = stack_space(16)


@called
def fetch_ahead(entry: int) -> None:
    """Brings what the next packet to the guest's first queue needs of its ring into this CPU's cache, while nothing
    comes: the index and the entry of what is available, and the descriptor.

    The guest's CPU has written them last, and the packet would wait for them, one after the other. Which descriptor is
    next only the ring says, which must not be read here: its memory may go at any time, and a prefetch is all that may
    miss it. So it is the one of a driver that uses its descriptors in turn.
    """
    guest_block = load64(entry + at.ENTRY_GUEST)
    guest = load_acquire(guest_block + at.GUEST_VID)
    enabled = load_acquire(guest_block + at.GUEST_RX_QUEUES)
    if guest <= 0 or (enabled != 0 and enabled & at.FIRST_QUEUE == 0):
        return
    vring, bases = vring_space(), bases_space()
    if get_vring(guest - 1, GUEST_RX, vring) != 0 or get_vring_base(guest - 1, GUEST_RX, bases, bases + 8) != 0:
        return
    slot = load16(bases) & (load16(vring + VRING_ENTRIES) - 1)
    prefetch(load64(vring + VRING_AVAIL))
    prefetch(load64(vring + VRING_AVAIL) + AVAIL_ENTRIES + AVAIL_ENTRY_BYTES * slot)
    prefetch(load64(vring + VRING_DESC) + DESCRIPTOR_BYTES * slot)
