"""What compiled code tells Python, by a ring; it may be told from a signal handler too."""

from __future__ import annotations

from numba import types

from engine.burst.compiled import layout as at
from engine.burst.compiled.compiling import called
from engine.burst.compiled.intrinsics import (
    compare_exchange,
    fetch_add,
    load_acquire,
    stack_space,
    store64,
    store_release,
)

_i32, _i64 = types.int32, types.int64
write = types.ExternalFunction("write", _i64(_i32, _i64, _i64))
word_space = stack_space(8)


@called
def push_event(context: int, kind: int, guest: int) -> None:
    """Appends to the ring, or counts as lost when Python is a whole ring behind. Wakes Python either way."""
    while True:
        head = load_acquire(context + at.EVENTS_HEAD)
        if head - load_acquire(context + at.EVENTS_TAIL) >= at.EVENT_SLOTS:
            fetch_add(context + at.EVENTS_LOST, 1)
            break
        if compare_exchange(context + at.EVENTS_HEAD, head, head + 1) == 1:
            slot = context + at.EVENTS + (head % at.EVENT_SLOTS) * at.EVENT_SIZE
            store64(slot + 8, (kind << 32) | guest)
            store_release(slot, head + 1)
            break
    one = word_space()
    store64(one, 1)
    write(_i32(load_acquire(context + at.CONTEXT_EVENT_FD)), one, 8)


@called
def guest_block(context: int, index: int) -> int:
    return load_acquire(context + at.CONTEXT_GUESTS) + index * at.GUEST_SIZE


@called
def refused(context: int, index: int, reason: int) -> None:
    """Tells that whoever is on a socket is cut off, and for which request or other reason."""
    store_release(guest_block(context, index) + at.GUEST_REFUSED, reason)
    push_event(context, at.EVENT_REFUSED, index)
