"""Memory that Python and machine code share: zeroed, page-aligned, never moved."""

from __future__ import annotations

import ctypes
import mmap

CACHE_LINE_BYTES = 64


class Block:
    """Anonymous memory of `size` bytes; freed when the last reference goes.

    Words are 64 bits, aligned, so that on x86-64 a read or write of one is whole. Offsets are in bytes.
    """

    def __init__(self, size: int) -> None:
        self._memory = mmap.mmap(-1, size)
        self._anchor = ctypes.c_char.from_buffer(self._memory)
        self.address = ctypes.addressof(self._anchor)
        self.size = size

    def read(self, offset: int) -> int:
        return read_word(self.address + offset)

    def write(self, offset: int, value: int) -> None:
        write_word(self.address + offset, value)

    def read_bytes(self, offset: int, count: int) -> bytes:
        return ctypes.string_at(self.address + offset, count)

    def write_bytes(self, offset: int, value: bytes) -> None:
        ctypes.memmove(self.address + offset, value, len(value))


def read_word(address: int) -> int:
    return ctypes.c_int64.from_address(address).value


def write_word(address: int, value: int) -> None:
    ctypes.c_int64.from_address(address).value = value
