"""Memory that a guest's side has taken away: who shares memory can make its file shorter at any time.

Whoever touches what is no longer there gets SIGBUS, which would end the engine and all its relays. So zeros are put in
its place, as libwayland does for its clients' buffers: that guest finds nonsense in its rings, and nobody else notices.
"""

from __future__ import annotations

import ctypes
import signal

from numba import cfunc, types

from engine.burst import doors as _doors  # noqa: F401 - defines the symbol that this code is linked to
from engine.burst import layout as at
from engine.burst.intrinsics import fetch_add, load32, load64, symbol_address

SIGNAL_CODE, SIGNAL_ADDRESS = 8, 16
"""siginfo_t of x86-64 Linux: si_code, si_addr."""
BUS_ADRERR = 2
"""The address is mapped, and there is nothing behind it."""
PROT_READ_WRITE = 3
MAP_PRIVATE, MAP_FIXED, MAP_ANONYMOUS = 0x02, 0x10, 0x20
MAP_FAILED = -1
PAGE_SIZES = (1 << 12, 1 << 21, 1 << 30)
"""A piece of a mapping of hugepages can only be replaced by whole pages of its size."""
SA_SIGINFO = 4
SIG_DFL = 0

_i32, _i64 = types.int32, types.int64
doors_address = symbol_address(at.DOORS_SYMBOL)
mmap = types.ExternalFunction("mmap", _i64(_i64, _i64, _i32, _i32, _i32, _i64))
set_signal = types.ExternalFunction("signal", _i64(_i32, _i64))


@cfunc(types.void(_i32, _i64, _i64), cache=True)
def on_bus_error(number: int, info: int, _context: int) -> None:
    """Puts zeros where memory is missing. Any other bus error ends the process when the access is repeated."""
    if load32(info + SIGNAL_CODE) == BUS_ADRERR:
        address = load64(info + SIGNAL_ADDRESS)
        for size in PAGE_SIZES:
            page = address & -size
            flags = MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS
            if mmap(page, size, PROT_READ_WRITE, flags, _i32(-1), 0) != MAP_FAILED:
                fetch_add(doors_address() + at.DOORS_BUS_ERRORS, 1)
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


def survive_bus_errors() -> None:
    """Installs the handler for the process; Python's own handlers run too late, after the access. Raises OSError."""
    action = _SigAction(handler=on_bus_error.address, flags=SA_SIGINFO)
    if ctypes.CDLL(None, use_errno=True).sigaction(signal.SIGBUS, ctypes.byref(action), None) != 0:
        raise OSError(ctypes.get_errno(), "sigaction(SIGBUS) failed")
