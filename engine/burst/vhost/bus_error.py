"""Memory that a guest's side has taken away: who shares memory can make its file shorter at any time.

Whoever touches what is no longer there gets SIGBUS, which would end the engine and all its relays. So zeros are put in
the place of the whole region, as libwayland does for its clients' buffers, and that guest is cut off: when it connects
again its memory is mapped anew. The whole region at once, since each page that is replaced alone is another mapping,
of which a process has vm.max_map_count at most. A page that the host can't back (no hugepage is free), or that has
failed in hardware, is the same to whoever touches it.
"""

from __future__ import annotations

import ctypes
import signal

from numba import cfunc, types

from engine.burst.compiled import layout as at
from engine.burst.compiled.compiling import called
from engine.burst.compiled.intrinsics import (
    compare_exchange,
    load32,
    load64,
    load_acquire,
    stack_space,
    store64,
    symbol_address,
)
from engine.burst.vhost import callback_block as _callback_block  # noqa: F401 - defines the symbol that this code is linked to
from engine.burst.vhost.connection import hang_up
from engine.burst.vhost.events import guest_block, refused
from engine.burst.vhost.guest_memory import region_of

SIGNAL_CODE, SIGNAL_ADDRESS = 8, 16
"""siginfo_t of x86-64 Linux: si_code, si_addr."""
SIGBUS, SIGSEGV = 7, 11
BUS_ADRERR, SEGV_MAPERR = 2, 1
"""The address is mapped, and there is nothing behind it; it is not mapped."""
PROT_READ_WRITE = 3
MAP_SHARED, MAP_PRIVATE, MAP_FIXED, MAP_ANONYMOUS, MAP_NORESERVE = 0x01, 0x02, 0x10, 0x20, 0x4000
MAP_FIXED_NOREPLACE = 0x100000
MAP_FAILED = -1
PAGE_SIZES = (1 << 12, 1 << 21, 1 << 30)
"""A piece of a mapping of hugepages can only be replaced by whole pages of its size."""
SA_SIGINFO = 4
SIG_DFL = 0

_i32, _i64 = types.int32, types.int64
context_address = symbol_address(at.CONTEXT_SYMBOL)
mmap = types.ExternalFunction("mmap", _i64(_i64, _i64, _i32, _i32, _i32, _i64))
memfd_create = types.ExternalFunction("memfd_create", _i32(_i64, _i32))
ftruncate = types.ExternalFunction("ftruncate", _i32(_i32, _i64))
close = types.ExternalFunction("close", _i32(_i32))
set_signal = types.ExternalFunction("signal", _i64(_i32, _i64))
name_space = stack_space(8)


@called
def put_zeros(start: int, size: int, how: int) -> bool:
    flags = how | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
    return mmap(start, size, PROT_READ_WRITE, flags, _i32(-1), 0) == start


@called
def put_file_of_zeros(start: int, size: int) -> bool:
    """For hosts that never overcommit (vm.overcommit_memory=2): nothing of it counts before it is written to."""
    name = name_space()
    store64(name, 0)
    fd = memfd_create(name, 0)
    if fd < 0:
        return False
    ftruncate(fd, size)
    address = mmap(start, size, PROT_READ_WRITE, MAP_SHARED | MAP_FIXED, fd, 0)
    close(fd)
    return address == start


@called
def cut_off(context: int, index: int) -> None:
    """No pass that begins now sees the guest; rte_vhost finds its connection ended."""
    guest = guest_block(context, index)
    vid = load_acquire(guest + at.GUEST_VID)
    compare_exchange(guest + at.GUEST_VID, vid, 0)
    hang_up(load64(guest + at.GUEST_FD), guest + at.GUEST_PATH)
    refused(context, index, at.MEMORY_SHORT)


@called
def replace_region(context: int, address: int) -> bool:
    """Puts zeros in the place of the region that an address is in, if it is a guest's."""
    for index in range(load_acquire(context + at.CONTEXT_GUEST_COUNT)):
        guest = guest_block(context, index)
        found = region_of(guest, load_acquire(guest + at.GUEST_REGIONS), address)
        if found >= 0:
            region = guest + at.GUEST_REGION + 16 * found
            start, size = load64(region), load64(region + 8)
            cut_off(context, index)
            return put_zeros(start, size, MAP_FIXED) or put_file_of_zeros(start, size)
    return False


@called
def replace_page(address: int) -> bool:
    """For a region that rte_vhost is just mapping. It looks at one word of each ring, so there are 64 at most, until
    the region goes."""
    for size in PAGE_SIZES:  # noqa: SIM110 - Numba knows no any()
        if put_zeros(address & -size, size, MAP_FIXED):
            return True
    return False


@called
def is_stale(context: int, address: int) -> bool:
    """Whether rte_vhost has taken away the region that an address is in, and has no new one."""
    for index in range(load_acquire(context + at.CONTEXT_GUEST_COUNT)):
        guest = guest_block(context, index)
        if region_of(guest, load_acquire(guest + at.GUEST_STALE), address) >= 0:
            return True
    return False


@cfunc(types.void(_i32, _i64, _i64), cache=True)
def on_missing_memory(number: int, info: int, _context: int) -> None:
    """Puts zeros where memory is missing. For any other reason the process ends when the access is repeated."""
    context, code, address = context_address(), load32(info + SIGNAL_CODE), load64(info + SIGNAL_ADDRESS)
    if number == SIGBUS and (replace_region(context, address) or (code == BUS_ADRERR and replace_page(address))):
        return
    page = address & -PAGE_SIZES[0]
    stale = number == SIGSEGV and code == SEGV_MAPERR and is_stale(context, address)
    if stale and put_zeros(page, PAGE_SIZES[0], MAP_FIXED_NOREPLACE):
        return
    set_signal(number, SIG_DFL)


class _SigAction(ctypes.Structure):
    """struct sigaction of x86-64 glibc."""

    _fields_ = (
        ("handler", ctypes.c_void_p),
        ("mask", ctypes.c_uint64 * 16),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )


def survive_missing_memory() -> None:
    """Installs the handler for the process; Python's own handlers run too late, after the access. Raises OSError."""
    action = _SigAction(handler=on_missing_memory.address, flags=SA_SIGINFO)
    for number in (signal.SIGBUS, signal.SIGSEGV):
        if ctypes.CDLL(None, use_errno=True).sigaction(number, ctypes.byref(action), None) != 0:
            raise OSError(ctypes.get_errno(), f"sigaction({number.name}) failed")
