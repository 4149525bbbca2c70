"""The grace period: how a change becomes safe without a lock on the path."""

from __future__ import annotations

from numba import cfunc, types

from engine.burst.compiled import layout as at
from engine.burst.compiled.compiling import called
from engine.burst.compiled.intrinsics import exchange, load_acquire, store_release

NAP_US = 20
"""A pass takes microseconds; who waits for longer shares the worker's CPU, so it must give it away."""

usleep = types.ExternalFunction("usleep", types.int32(types.int32))


@called
def leave_pass(worker: int) -> None:
    """Returns once the worker is outside a pass, or in one that began after this call.

    The caller has changed a word with `exchange` before, so that a pass that begins later sees the change.
    """
    sequence = load_acquire(worker + at.WORKER_SEQUENCE)
    if sequence & 1 == 0:
        return
    while load_acquire(worker + at.WORKER_SEQUENCE) == sequence:
        usleep(NAP_US)


@called
def leave_passes(context: int) -> None:
    """`leave_pass` for every worker that was ever started."""
    for index in range(load_acquire(context + at.CONTEXT_WORKERS)):
        leave_pass(load_acquire(context + at.CONTEXT_WORKER + 8 * index))


@called
def publish(worker: int, table: int) -> None:
    """Makes `table` the worker's and returns when the old one is used no more."""
    exchange(worker + at.WORKER_TABLE, table)
    leave_pass(worker)


@called
def publish_word(context: int, address: int, value: int) -> None:
    """Writes a word that workers read and returns when the old value is used no more."""
    exchange(address, value)
    leave_passes(context)


@called
def enter_pass(worker: int, sequence: int) -> None:
    """Called by the worker itself: what others changed before they saw the odd number is seen from here on."""
    exchange(worker + at.WORKER_SEQUENCE, sequence + 1)


@called
def end_pass(worker: int, sequence: int) -> None:
    store_release(worker + at.WORKER_SEQUENCE, sequence + 2)


@cfunc(types.void(types.int64, types.int64), cache=True)
def publish_table(worker: int, table: int) -> None:
    """`publish` for Python, through ctypes, which releases the GIL meanwhile."""
    publish(worker, table)


@cfunc(types.void(types.int64, types.int64, types.int64), cache=True)
def publish_anywhere(context: int, address: int, value: int) -> None:
    """`publish_word` for Python."""
    publish_word(context, address, value)
