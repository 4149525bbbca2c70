"""The compiled capture beside a reference implementation."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from engine.api.capture_reader import Record, Records
from engine.burst.compiled.cache import numba_cache
from engine.dpdk import library
from engine.dpdk.installed import LAYOUT
from schema.paths import cache_dir
from tests.engine.burst.doubles.reference_entry import Packet, Surroundings

with numba_cache(cache_dir(), library.load().version):
    from tests.engine.burst.doubles import fake_dpdk  # isort: skip - its symbols must be there first
    from engine.burst import loops
    from engine.burst.capture import capture
    from engine.burst.compiled import layout as at
    from engine.burst.compiled.memory import Block
    from engine.dataplane.capture import Ring

from tests.engine.burst.isolated.loops import DIRECTIONS, SURROUNDINGS, Pair

RING_BYTES = 1024
GUARD = b"\xa5" * 64
MBUF = LAYOUT.mbuf
Chain = Sequence[bytes]
"""A packet: what each of its mbufs holds."""


@dataclass
class Mbufs:
    """Packets in memory as DPDK has them."""

    kept: list[Block] = field(default_factory=list)

    def chain(self, parts: Chain, headroom: int) -> int:
        """The address of the first mbuf."""
        following = 0
        for part in reversed(parts):
            block = Block(MBUF.size + headroom + len(part) + 1)
            self.kept.append(block)
            block.write(MBUF.buf_addr, block.address + MBUF.size)
            block.write(MBUF.next, following)
            _write(block, MBUF.data_off, ctypes.c_uint16, headroom)
            _write(block, MBUF.data_len, ctypes.c_uint16, len(part))
            _write(block, MBUF.pkt_len, ctypes.c_uint32, sum(map(len, parts)))
            block.write_bytes(MBUF.size + headroom, part)
            following = block.address
        return following

    def burst(self, packets: Sequence[Chain], headroom: int) -> Block:
        listed = Block(8 * max(1, len(packets)))
        self.kept.append(listed)
        for index, parts in enumerate(packets):
            listed.write(8 * index, self.chain(parts, headroom))
        return listed


def _write(block: Block, offset: int, kind: type[ctypes.c_uint16] | type[ctypes.c_uint32], value: int) -> None:
    kind.from_address(block.address + offset).value = value


@dataclass
class ReferenceRing:
    """What a ring does, in packets: it has room for so many bytes, and a record does not go round its end."""

    snaplen: int
    records: list[tuple[int, bytes]] = field(default_factory=list)
    missed: int = 0
    position: int = 0
    read: int = 0

    def capture(self, packets: Sequence[Chain]) -> None:
        for index, parts in enumerate(packets):
            whole = b"".join(parts)
            size = 32 + -(-min(len(whole), self.snaplen) // 8) * 8
            left = RING_BYTES - self.position % RING_BYTES
            start = self.position if size <= left else self.position + left
            if start + size > self.read + RING_BYTES:
                self.missed += len(packets) - index
                return
            self.position = start + size
            self.records.append((len(whole), whole[: self.snaplen]))


CHAINS = st.lists(st.binary(max_size=120), min_size=1, max_size=4)
BURSTS = st.lists(CHAINS, max_size=32)
READS = st.integers(1, 2 * RING_BYTES)
"""So many bytes are read at once, cut anywhere."""


@given(
    snaplen=st.one_of(st.integers(1, 900), st.just(262_144)),
    headroom=st.sampled_from([0, 128]),
    story=st.lists(st.one_of(BURSTS, READS), max_size=30),
)
def test_what_is_read_is_what_was_received(snaplen: int, headroom: int, story: list[list[Chain] | int]) -> None:
    mbufs, ring, reference, records = Mbufs(), Ring(snaplen, RING_BYTES), ReferenceRing(snaplen), Records()
    entry = Block(at.ENTRY_SIZE)
    entry.write(at.ENTRY_CAPTURE, ring.block.address)
    for step in [*story, 10 * RING_BYTES]:
        if isinstance(step, int):
            piece, _more = ring.take(step)
            records.feed(piece)
            reference.read += len(piece)
        else:
            capture(entry.address, mbufs.burst(step, headroom).address, len(step))
            reference.capture(step)
        assert ring.missed == reference.missed
    assert [(each.length, each.packet) for each in records.waiting] == reference.records
    stamps = [each.tsc for each in records.waiting]
    assert stamps == sorted(stamps)


@given(bursts=st.lists(BURSTS, max_size=8))
def test_nothing_is_written_behind_the_ring(bursts: list[list[Chain]]) -> None:
    block = Block(at.RING_RECORDS + RING_BYTES + len(GUARD))
    block.write(at.RING_BYTES, RING_BYTES)
    block.write(at.RING_SNAPLEN, 512)
    block.write_bytes(at.RING_RECORDS + RING_BYTES, GUARD)
    mbufs, entry = Mbufs(), Block(at.ENTRY_SIZE)
    entry.write(at.ENTRY_CAPTURE, block.address)
    for burst in bursts:
        capture(entry.address, mbufs.burst(burst, 128).address, len(burst))
        block.write(at.RING_TAIL, block.read(at.RING_HEAD))
    assert block.read_bytes(at.RING_RECORDS + RING_BYTES, len(GUARD)) == GUARD


@given(burst=BURSTS)
def test_an_entry_that_nobody_captures_stays_as_it_is(burst: list[Chain]) -> None:
    """And its mbufs are not even looked at: these are none."""
    entry, before = Block(at.ENTRY_SIZE), bytes(at.ENTRY_SIZE)
    capture(entry.address, 0, len(burst))
    assert entry.read_bytes(0, at.ENTRY_SIZE) == before


@given(direction=DIRECTIONS, story=st.lists(SURROUNDINGS, max_size=12))
def test_every_packet_that_a_turn_receives_is_captured(direction: int, story: list[Surroundings]) -> None:
    """Sent, dropped or kept waiting."""
    world, ring, records = fake_dpdk.fresh(), Ring(64), Records()
    pair = Pair.of(world, direction)
    pair.place.entry.write(at.ENTRY_CAPTURE, ring.block.address)
    for now in story:
        pair.surround(now)
        loops.poll(pair.place.entry.address, world.fp_ops.address, fake_dpdk.DRAIN_POOL)
        records.feed(ring.take(2**22)[0])
    received = [packet.length for packet in arrived(pair)]
    assert [each.length for each in records.waiting] == received
    assert ring.missed == 0
    assert len(received) == pair.place.counters()["rx_packets"]


def arrived(pair: Pair) -> list[Packet]:
    """What was taken from where it arrived: everything in front of what still lies there."""
    left = len(pair.place.inbox)
    return list(pair.reference.inbox)[: len(pair.reference.inbox) - left]


def test_more_says_whether_something_is_left() -> None:
    mbufs, ring, entry = Mbufs(), Ring(64, RING_BYTES), Block(at.ENTRY_SIZE)
    entry.write(at.ENTRY_CAPTURE, ring.block.address)
    assert ring.take(100) == (b"", False)
    capture(entry.address, mbufs.burst([[b"abc"]], 0).address, 1)
    first, more = ring.take(16)
    assert more
    second, more = ring.take(24)
    assert not more
    records = Records()
    records.feed(first)
    assert not records.waiting
    records.feed(second)
    (only,) = records.waiting
    assert only == Record(only.tsc, 3, b"abc")
