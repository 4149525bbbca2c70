"""Cutting long TCP frames, with DPDK's own mbufs and pools.

Against a reference implementation, and against librte_gso where that can. It starts an EAL.
"""

from __future__ import annotations

import ctypes
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.burst.compiled.cache import numba_cache
from engine.dpdk import layout as dpdk
from engine.dpdk import library
from engine.dpdk.eal import Eal, EalParameters, clear_runtime_directory
from engine.dpdk.mbuf import ANY_SOCKET, Mbufs, Pool
from schema.paths import cache_dir
from tests.engine.burst.doubles.reference_segment import ACK, CWR, FIN, PSH, SYN, Frame, cut

with numba_cache(cache_dir(), library.load().version):
    from engine.burst import checksum, loops, segment, to_vf
    from engine.burst.compiled import layout as at
    from engine.burst.compiled.memory import Block
    from engine.dpdk.installed import DPDK, LAYOUT

settings.register_profile("segment", deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
settings.load_profile("segment")

M = LAYOUT.mbuf
MTU = 1500
ROOM = 2048
_u16, _u32, _u64 = ctypes.c_uint16, ctypes.c_uint32, ctypes.c_uint64
copy_mbuf = library.function(
    DPDK.mbuf, "rte_pktmbuf_copy", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, _u32, _u32
)


def pool(name: str, mbufs: int, room: int) -> Pool:
    """Without a cache, which would need more mbufs than some of these have."""
    create = library.function(
        DPDK.mbuf, "rte_pktmbuf_pool_create", ctypes.c_void_p, ctypes.c_char_p, _u32, _u32, _u16, _u16, ctypes.c_int
    )
    address = create(name.encode(), mbufs, 0, 0, dpdk.PKTMBUF_HEADROOM + room, ANY_SOCKET)
    assert address
    return Pool(name, address, mbufs)


class Rig:
    """An EAL without hugepages, and pools: one whose buffers hold a frame whole, one as a port has, one of four."""

    def __init__(self) -> None:
        self.mbufs = Mbufs(DPDK)
        self.whole, self.pool, self.few = pool("whole", 63, 65_100), pool("pool", 4095, ROOM), pool("few", 4, ROOM)

    @property
    def in_use(self) -> tuple[int, ...]:
        return tuple(self.mbufs.in_use(pool) for pool in (self.whole, self.pool, self.few))

    def free(self, *mbufs: int) -> None:
        held = Block(8)
        for mbuf in mbufs:
            held.write(0, mbuf)
            self.mbufs.free_mbufs(held.address, 1)


@pytest.fixture(scope="module")
def eal() -> Iterator[Rig]:
    directory = Path(tempfile.mkdtemp())
    cpu = min(os.sched_getaffinity(0))
    prefix = f"segment-{os.getpid()}"
    Eal(DPDK).init(EalParameters(prefix, cpu, {}, directory, False, 5))
    yield Rig()
    clear_runtime_directory(directory, prefix)
    directory.rmdir()


rig: Rig


@pytest.fixture(autouse=True)
def _rig(eal: Rig) -> Iterator[None]:
    global rig
    rig = eal
    before = eal.in_use
    yield
    assert eal.in_use == before, "mbufs were lost, or freed twice"


def read(mbuf: int, offset: int, size: int) -> int:
    return int.from_bytes(ctypes.string_at(mbuf + offset, size), "little")


def write(mbuf: int, offset: int, size: int, value: int) -> None:
    ctypes.memmove(mbuf + offset, value.to_bytes(size, "little"), size)


def content(mbuf: int) -> bytes:
    """A packet's bytes, which may lie in a chain of mbufs."""
    parts = []
    while mbuf:
        parts.append(ctypes.string_at(read(mbuf, M.buf_addr, 8) + read(mbuf, M.data_off, 2), read(mbuf, M.data_len, 2)))
        mbuf = read(mbuf, M.next, 8)
    return b"".join(parts)


def lengths(l2: int, l3: int, l4: int, size: int) -> int:
    return l2 | l3 << 7 | l4 << 16 | size << 24


def packet(wire: bytes, flags: int = 0, tx_offload: int = 0, chained: bool = True) -> int:
    """An mbuf with these bytes; chained as vhost makes it, in buffers of a port's pool."""
    template = Block(LAYOUT.mbuf.size)
    buffer = ctypes.create_string_buffer(wire, len(wire) + 1)
    for offset, size, value in (
        (M.buf_addr, 8, ctypes.addressof(buffer)),
        (M.data_len, 2, len(wire) & 0xFFFF),
        (M.pkt_len, 4, len(wire)),
        (M.nb_segs, 2, 1),
        (M.buf_len, 2, 65535),
    ):
        write(template.address, offset, size, value)
    made = int(copy_mbuf(template.address, (rig.pool if chained else rig.whole).address, 0, len(wire)))
    write(made, M.ol_flags, 8, flags)
    write(made, M.tx_offload, 8, tx_offload)
    return made


def flags_of(frame: Frame) -> int:
    return dpdk.MBUF_F_TX_TCP_SEG | (dpdk.MBUF_F_TX_IPV6 if frame.version == 6 else dpdk.MBUF_F_TX_IPV4)


def long_packet(frame: Frame, size: int, chained: bool = True) -> int:
    wire = frame.wire(frame.open_checksum())
    return packet(wire, flags_of(frame), lengths(frame.l2, frame.l3, frame.l4, size), chained)


class Entry:
    """An entry whose VF is a list, and whose frames to be cut are given."""

    def __init__(self, frames: Sequence[int], who: int = at.SOFTWARE) -> None:
        self.block = Block(at.ENTRY_SIZE)
        self.address = self.block.address
        for word, value in (
            (at.ENTRY_DIRECTION, at.VM_TO_VF),
            (at.ENTRY_CHECKSUM, who),
            (at.ENTRY_SEGMENTS, who),
            (at.ENTRY_MTU, MTU),
        ):
            self.block.write(word, value)
        self.give(frames)

    def give(self, frames: Sequence[int]) -> None:
        for index, frame in enumerate(frames):
            self.block.write(at.ENTRY_MBUFS + 8 * index, frame)

    def mbufs(self, count: int) -> list[int]:
        return [self.block.read(at.ENTRY_MBUFS + 8 * index) for index in range(count)]

    def cut_all(self, pool: Pool) -> list[bytes]:
        """What leaves, checksums finished."""
        left = []
        while packets := segment.cut(self.address, pool.address):
            assert packets <= at.BURST
            checksum.finish_checksums(self.address + at.ENTRY_MBUFS, packets)
            for mbuf in self.mbufs(packets):
                assert len(content(mbuf)) == read(mbuf, M.pkt_len, 4)
                left.append(content(mbuf))
                rig.free(mbuf)
        assert self.block.read(at.ENTRY_STAGED) == 0
        return left

    def counted(self, reason: int) -> tuple[int, int]:
        return self.block.read(reason), self.block.read(reason + 8)


FRAMES = st.builds(
    Frame,
    version=st.sampled_from([4, 6]),
    payload=st.integers(1, 60_000).map(lambda size: bytes(index * 7 % 251 for index in range(size))),
    sequence=st.one_of(st.integers(0, 2**32 - 1), st.just(2**32 - 100)),
    flags=st.sampled_from([ACK, ACK | PSH, ACK | PSH | FIN, ACK | CWR | PSH, ACK | SYN]),
    identification=st.sampled_from([0, 1, 65_530]),
    vlan=st.sampled_from([None, None, 7]),
    tcp_options=st.sampled_from([b"", b"\x01\x01\x08\x0a" + bytes(8), b"\x01" * 40]),
)
SIZES = st.sampled_from([1448, 1428, 1380, 536, 8, 513])


@given(frames=st.lists(st.tuples(FRAMES, SIZES), min_size=1, max_size=4), chained=st.booleans())
def test_segments_are_as_the_reference_cuts_them(frames: list[tuple[Frame, int]], chained: bool) -> None:
    short = Frame(4, b"a short one, its checksum left open")
    plain = packet(
        short.wire(short.open_checksum()),
        dpdk.MBUF_F_TX_IPV4 | dpdk.MBUF_F_TX_TCP_CKSUM,
        lengths(short.l2, short.l3, short.l4, 0),
    )
    entry = Entry([*(long_packet(frame, size, chained) for frame, size in frames), plain])
    segment.hold(entry.address, len(frames) + 1)
    parts = [(part, index) for frame, size in frames for index, part in enumerate(cut(frame, size))]
    assert entry.cut_all(rig.pool) == [*(part.wire() for part, _ in parts), short.wire()]
    more = [part.l2 + part.l3 + part.l4 for part, index in parts if index > 0]
    assert entry.counted(at.RX) == (len(more), sum(more)), "a frame counts as its segments"


@given(frame=FRAMES, size=st.sampled_from([1448, 513]), options=st.sampled_from([b"", b"\x01" * 8]))
def test_librte_gso_cuts_ipv4_likewise(frame: Frame, size: int, options: bytes) -> None:
    """But for the checksums, which it leaves alone, and CWR, which it repeats."""
    frame = replace(frame, version=4, ip_options=options, flags=frame.flags & ~CWR)
    if len(frame.payload) <= size:
        return  # of which it makes nothing
    ours = Entry([long_packet(frame, size)])
    segment.hold(ours.address, 1)
    left = [without_checksums(frame, wire) for wire in ours.cut_all(rig.pool)]
    assert left == [without_checksums(frame, wire) for wire in by_librte_gso(frame, size)]


def without_checksums(frame: Frame, wire: bytes) -> bytes:
    changed = bytearray(wire)
    for at_ in (frame.l2 + 10, frame.l2 + frame.l3 + 16):
        changed[at_ : at_ + 2] = b"\0\0"
    return bytes(changed)


class GsoContext(ctypes.Structure):
    """struct rte_gso_ctx of rte_gso.h."""

    _fields_ = (
        ("direct_pool", ctypes.c_void_p),
        ("indirect_pool", ctypes.c_void_p),
        ("flag", _u64),
        ("gso_types", _u32),
        ("gso_size", _u16),
    )


def by_librte_gso(frame: Frame, size: int) -> list[bytes]:
    library_ = ctypes.CDLL(f"librte_gso.so.{LAYOUT.abi}")
    cut_by = library.function(library_, "rte_gso_segment", ctypes.c_int, ctypes.c_void_p, *[ctypes.c_void_p] * 2, _u16)
    headers = frame.l2 + frame.l3 + frame.l4
    context = GsoContext(rig.pool.address, rig.pool.address, 0, dpdk.ETH_TX_OFFLOAD_TCP_TSO, headers + size)
    room, whole = Block(8 * 4096), long_packet(frame, size, chained=False)
    count = cut_by(whole, ctypes.byref(context), room.address, 4095)
    assert count > 0
    made = [room.read(8 * index) for index in range(count)]
    wires = [content(mbuf) for mbuf in made]
    rig.free(*made, whole)
    return wires


@given(frame=FRAMES, size=st.sampled_from([1448, 536]))
def test_a_pool_that_runs_dry_only_delays(frame: Frame, size: int) -> None:
    entry = Entry([long_packet(frame, size, chained=False)])
    segment.hold(entry.address, 1)
    assert entry.cut_all(rig.few) == [part.wire() for part in cut(frame, size)]


@given(frame=FRAMES, size=SIZES, bursts=st.integers(0, 3))
def test_what_is_left_of_a_frame_is_dropped_and_counted(frame: Frame, size: int, bursts: int) -> None:
    """Received is sent and dropped, in packets and in bytes."""
    entry = Entry([long_packet(frame, size)])
    entry.block.write(at.RX, 1)
    entry.block.write(at.RX + 8, len(frame.wire()))
    segment.hold(entry.address, 1)
    sent = [0, 0]
    for _ in range(bursts):
        for mbuf in entry.mbufs(segment.cut(entry.address, rig.pool.address)):
            sent[0] += 1
            sent[1] += len(content(mbuf))
            rig.free(mbuf)
    drop = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)(loops.drop_waiting.address)
    drop(entry.address, at.VF_FULL)
    dropped = entry.counted(at.VF_FULL)
    assert entry.counted(at.RX) == (sent[0] + dropped[0], sent[1] + dropped[1])
    assert dropped[0] == (sent[0] < len(cut(frame, size)))


ANY_FLAGS = st.sampled_from([0, dpdk.MBUF_F_TX_IPV4, dpdk.MBUF_F_TX_IPV6, 3 << 55]).map(
    lambda kind: kind | dpdk.MBUF_F_TX_TCP_SEG
)
NUMBERS = st.one_of(
    st.builds(
        lengths,
        st.sampled_from([0, 13, 14, 18, 127]),
        st.sampled_from([0, 19, 20, 40, 60, 511]),
        st.sampled_from([0, 19, 20, 60, 255]),
        st.sampled_from([0, 1, 7, 8, 1000, 1448, 1500, 65_535]),
    ),
    st.integers(0, 2**40 - 1),
)


@given(
    wires=st.lists(
        st.one_of(st.binary(min_size=1, max_size=200), st.integers(1400, 66_000).map(bytes)), min_size=1, max_size=4
    ),
    flags=ANY_FLAGS,
    numbers=NUMBERS,
    chained=st.booleans(),
)
def test_a_guest_may_lie_as_it_likes(wires: list[bytes], flags: int, numbers: int, chained: bool) -> None:
    """What can be cut is: into packets that fit and hold the payload; the rest is dropped and counted."""
    made = [packet(wire[: 65_535 if chained else 65_000], flags, numbers, chained) for wire in wires]
    entry, sizes = Entry(made), [read(mbuf, M.pkt_len, 4) for mbuf in made]
    fit = [bool(segment.fits(mbuf, MTU)) for mbuf in made]
    assert segment.classify(entry.address, len(made)) == sum(fit)
    lost = [size for size, fits in zip(sizes, fit, strict=True) if not fits]
    assert entry.counted(at.VF_UNFIT) == (len(lost), sum(lost))
    segment.hold(entry.address, sum(fit))
    headers = (numbers & 127) + (numbers >> 7 & 511) + (numbers >> 16 & 255)
    left = entry.cut_all(rig.pool)
    assert all(len(wire) <= MTU + (numbers & 127) for wire in left)
    assert sum(len(wire) - headers for wire in left) == sum(
        size - headers for size, fits in zip(sizes, fit, strict=True) if fits
    )


@pytest.mark.parametrize(("size", "fits"), [(1500 + 14, True), (1500 + 22, True), (1500 + 23, False), (9014, False)])
def test_a_frame_that_is_not_to_be_cut_fits_or_is_dropped(size: int, fits: bool) -> None:
    entry = Entry([packet(bytes(size))])
    assert segment.classify(entry.address, 1) == fits
    assert entry.counted(at.VF_UNFIT) == ((0, 0) if fits else (1, size))
    if fits:
        rig.free(*entry.mbufs(1))


class Nic:
    """A driver that refuses to prepare the packets at these positions, counted over all that it is shown."""

    def __init__(self, refused: set[int]) -> None:
        self.refused = refused
        self.prepared: list[int] = []
        self.shown = 0
        self.call = ctypes.CFUNCTYPE(_u16, ctypes.c_int64, ctypes.c_int64, _u16)(self._prepare)
        self.fp_ops, self.queue = Block(LAYOUT.fp_ops.size), Block(8)
        self.fp_ops.write(LAYOUT.fp_ops.tx_pkt_prepare, ctypes.cast(self.call, ctypes.c_void_p).value or 0)
        self.fp_ops.write(LAYOUT.fp_ops.txq_data, self.queue.address)

    def _prepare(self, _queue: int, mbufs: int, count: int) -> int:
        for index in range(count):
            self.shown += 1
            if self.shown - 1 in self.refused:
                return index
            self.prepared.append(ctypes.c_int64.from_address(mbufs + 8 * index).value)
        return count


@given(frame=FRAMES, count=st.integers(1, 5), refused=st.sets(st.integers(0, 5)))
def test_a_nic_that_cuts_gets_frames_as_it_wants_them(frame: Frame, count: int, refused: set[int]) -> None:
    made, nic = [long_packet(frame, 1400) for _ in range(count)], Nic(refused)
    entry = Entry(made, at.HARDWARE)
    kept = [mbuf for index, mbuf in enumerate(made) if index not in refused]
    assert to_vf.finish(entry.address, nic.fp_ops.address, 1, count) == len(kept)
    assert entry.mbufs(len(kept)) == nic.prepared == kept
    assert entry.counted(at.VF_UNFIT)[0] == count - len(kept)
    wanted = bytearray(frame.wire(frame.open_checksum(0)))
    flags = flags_of(frame) | dpdk.MBUF_F_TX_TCP_CKSUM
    if frame.version == 4:
        wanted[frame.l2 + 10 : frame.l2 + 12] = b"\0\0"
        flags |= dpdk.MBUF_F_TX_IP_CKSUM
    for mbuf in kept:
        assert content(mbuf) == bytes(wanted)
        assert read(mbuf, M.ol_flags, 8) == flags
    rig.free(*kept)
