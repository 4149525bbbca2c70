"""Reads capture files with libpcap, the library that tcpdump reads them with."""

from __future__ import annotations

import ctypes
import struct
import tempfile
from pathlib import Path

import pytest

from engine.api.capture_reader import Captured

_NANOSECONDS = 1
_ERROR_BYTES = 256
_DIRECTIONS = {1: "vf-to-vm", 2: "vm-to-vf"}


class _Header(ctypes.Structure):
    """struct pcap_pkthdr; the second word of the time is nanoseconds, as asked for."""

    _fields_ = (
        ("seconds", ctypes.c_long),
        ("nanoseconds", ctypes.c_long),
        ("captured", ctypes.c_uint32),
        ("length", ctypes.c_uint32),
    )


def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libpcap.so.0.8")
    except OSError:
        pytest.skip("needs libpcap")
    library.pcap_open_offline_with_tstamp_precision.restype = ctypes.c_void_p
    library.pcap_geterr.restype = ctypes.c_char_p
    return library


def read(source: Path | bytes) -> list[Captured]:
    """The packets of a file, or of what would be one. Libpcap's and our own reading of it must agree."""
    if isinstance(source, bytes):
        with tempfile.NamedTemporaryFile() as kept:
            Path(kept.name).write_bytes(source)
            return read(Path(kept.name))
    by_library = _by_library(source)
    directions = _directions(source.read_bytes())
    assert len(by_library) == len(directions)
    return [Captured(each[0], way, *each[1:]) for each, way in zip(by_library, directions, strict=True)]


def _by_library(path: Path) -> list[tuple[int, int, bytes]]:
    library, error = _library(), ctypes.create_string_buffer(_ERROR_BYTES)
    opened = library.pcap_open_offline_with_tstamp_precision(str(path).encode(), _NANOSECONDS, error)
    assert opened, error.value.decode()
    handle, header, packet = ctypes.c_void_p(opened), ctypes.POINTER(_Header)(), ctypes.c_void_p()
    found = []
    try:
        while (code := library.pcap_next_ex(handle, ctypes.byref(header), ctypes.byref(packet))) == 1:
            head = header.contents
            whole = ctypes.string_at(packet.value or 0, head.captured) if head.captured else b""
            found.append((head.seconds * 10**9 + head.nanoseconds, head.length, whole))
        assert code == -2, library.pcap_geterr(handle).decode()
    finally:
        library.pcap_close(handle)
    return found


def blocks(whole: bytes) -> list[tuple[int, bytes]]:
    """The blocks of a pcapng file: their types and bodies."""
    found, position = [], 0
    while position < len(whole):
        kind, length = struct.unpack_from("<II", whole, position)
        assert struct.unpack_from("<I", whole, position + length - 4) == (length,)
        found.append((kind, whole[position + 8 : position + length - 4]))
        position += length
    return found


def _directions(whole: bytes) -> list[str]:
    """The direction flag of each packet, which libpcap does not tell."""
    return [_DIRECTIONS[struct.unpack_from("<I", body, len(body) - 8)[0]] for kind, body in blocks(whole) if kind == 6]
