"""A guest's memory: tried whole before rte_vhost maps it, left alone while it changes, known by its addresses after.

rte_vhost drops the old table before it maps the new one. If that fails it goes on without memory, and its rings
point to where the old one was. So a table must be mappable beside the old one, all of it at once and with room to
spare; the peer is cut off if it fails nonetheless (its answer is withheld until it has not); and meanwhile no pass
begins that sees the guest. Workers that wait for the ring's lock in a pass begun before go on when rte_vhost has
failed: what they touch then is among the stale regions.
"""

from __future__ import annotations

from numba import types

from engine.burst.compiled import layout as at
from engine.burst.compiled.compiling import called
from engine.burst.compiled.intrinsics import (
    compare_exchange,
    load32,
    load64,
    load_acquire,
    stack_space,
    store32,
    store64,
    store_release,
)
from engine.dpdk import installed
from engine.dpdk.layout import RTE_VHOST_MESSAGE

FLAGS = RTE_VHOST_MESSAGE.flags
NEED_REPLY = 8
"""Flag of a message: with it rte_vhost answers an error and goes on, instead of ending the connection."""
_REGION = installed.LAYOUT.vhost_region
REGION_BYTES, REGION_ADDRESS, REGION_LENGTH = _REGION.size, _REGION.mmap_addr, _REGION.mmap_size
HEAP_BYTES = 8192
"""More than rte_vhost takes of its heap for a table."""

_i32, _i64, _u32, _u64 = types.int32, types.int64, types.uint32, types.uint64
get_mem_table = types.ExternalFunction("rte_vhost_get_mem_table", _i32(_i32, _i64))
rte_malloc = types.ExternalFunction("rte_malloc", _i64(_i64, _u64, _u32))
rte_free = types.ExternalFunction("rte_free", types.void(_i64))
free = types.ExternalFunction("free", types.void(_i64))
pointer_space = stack_space(8)


@called
def heap_to_spare() -> bool:
    """Whether DPDK has memory of its own for another table."""
    taken = rte_malloc(0, _u64(HEAP_BYTES), _u32(0))
    rte_free(taken)
    return taken != 0


@called
def leave_alone(guest: int, message: int) -> None:
    """Before rte_vhost acts on a memory table: workers leave the guest from their next pass on."""
    vid = load_acquire(guest + at.GUEST_VID)
    if vid > 0:
        compare_exchange(guest + at.GUEST_VID, vid, -vid)
    store_release(guest + at.GUEST_STALE, load_acquire(guest + at.GUEST_REGIONS))
    store_release(guest + at.GUEST_REGIONS, 0)
    flags = load32(message + FLAGS)
    store64(guest + at.GUEST_ANSWER, flags & NEED_REPLY)
    store32(message + FLAGS, flags & ~NEED_REPLY)


@called
def go_on(vid: int, guest: int, message: int) -> None:
    """After it has: the new table is in force."""
    store_release(guest + at.GUEST_STALE, 0)
    note_regions(vid, guest)
    store32(message + FLAGS, load32(message + FLAGS) | load64(guest + at.GUEST_ANSWER))
    left = load_acquire(guest + at.GUEST_VID)
    if left < 0:
        compare_exchange(guest + at.GUEST_VID, left, -left)


@called
def note_regions(vid: int, guest: int) -> None:
    """For a guest that has memory: without any, rte_vhost ends the process."""
    pointer = pointer_space()
    if get_mem_table(vid, pointer) != 0:
        return
    table = load64(pointer)
    count = min(load32(table), at.MAX_REGIONS)
    for index in range(count):
        region, noted = table + 8 + REGION_BYTES * index, guest + at.GUEST_REGION + 16 * index
        store64(noted, load64(region + REGION_ADDRESS))
        store64(noted + 8, load64(region + REGION_LENGTH))
    store_release(guest + at.GUEST_REGIONS, count)
    free(table)


@called
def forget_regions(guest: int) -> None:
    """Before their memory goes."""
    store_release(guest + at.GUEST_REGIONS, 0)
    store_release(guest + at.GUEST_STALE, 0)


@called
def lies_within(guest: int, address: int, length: int) -> bool:
    """Whether all of something is in one region of the guest's memory as it is now."""
    index = region_of(guest, load_acquire(guest + at.GUEST_REGIONS), address)
    if index < 0:
        return False
    region = guest + at.GUEST_REGION + 16 * index
    return address - load64(region) <= load64(region + 8) - length


@called
def region_of(guest: int, count: int, address: int) -> int:
    """Which of a guest's first `count` regions an address is in, -1 for none."""
    for index in range(count):
        region = guest + at.GUEST_REGION + 16 * index
        if address >= load64(region) and address < load64(region) + load64(region + 8):
            return index
    return -1
