"""Spreading over a guest's queues, flow hashes and checksums, against reference implementations.

NIC and guest are fakes.
"""

from __future__ import annotations

import ctypes
import itertools
import struct
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llvmlite import binding

from engine.burst.compiled import layout as at
from engine.burst.compiled.cache import numba_cache
from engine.dpdk import library
from engine.dpdk.layout import MBUF_F_RX_RSS_HASH, MBUF_F_TX_TCP_CKSUM, MBUF_F_TX_UDP_CKSUM
from schema.paths import cache_dir

settings.register_profile("spread", deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
settings.load_profile("spread")

ETHER, HEADROOM = 14, 128
ONE_REFERENCE_ONE_SEGMENT = b"\1\0\1\0"
_int, _i64, _u16 = ctypes.c_int, ctypes.c_int64, ctypes.c_uint16


class Rig:
    """The NIC's packets, what each queue of the guest took, and how much each takes at a time."""

    def __init__(self) -> None:
        self.arriving: list[int] = []
        self.delivered: dict[int, list[int]] = defaultdict(list)
        self.room: dict[int, int] = defaultdict(int)
        self.freed: list[int] = []
        self.kickless: set[tuple[int, int]] = set()
        self.asked: list[int] = []
        self.sends = 0

    def enqueue(self, _vid: int, vring: int, mbufs: int, count: int) -> int:
        queue, left = divmod(vring, 2)
        assert left == 0
        taken = min(count, self.room[queue])
        self.room[queue] -= taken
        self.delivered[queue] += words(mbufs, taken)
        return taken

    def receive(self, _queue: int, mbufs: int, most: int) -> int:
        now, self.arriving = self.arriving[:most], self.arriving[most:]
        for index, mbuf in enumerate(now):
            _i64.from_address(mbufs + 8 * index).value = mbuf
        return len(now)

    def dequeue(self, _vid: int, vring: int, _pool: int, mbufs: int, most: int) -> int:
        queue, left = divmod(vring, 2)
        assert left == 1
        self.asked.append(queue)
        return self.receive(0, mbufs, min(self.sends, most))

    def free(self, mbufs: int, count: int) -> None:
        self.freed += words(mbufs, count)

    def notify(self, vid: int, vring: int, enable: int) -> int:
        assert enable == 0
        self.kickless.add((vid, vring))
        return 0


rig = Rig()


def words(address: int, count: int) -> list[int]:
    return list((_i64 * count).from_address(address)) if count else []


CALLBACKS: dict[str, Any] = {
    "rte_vhost_enqueue_burst": ctypes.CFUNCTYPE(_u16, _int, _u16, _i64, _u16)(lambda *a: rig.enqueue(*a)),
    "rte_pktmbuf_free_bulk": ctypes.CFUNCTYPE(None, _i64, ctypes.c_uint)(lambda *a: rig.free(*a)),
    "rte_vhost_enable_guest_notification": ctypes.CFUNCTYPE(_int, _int, _u16, _int)(lambda *a: rig.notify(*a)),
    "rte_vhost_dequeue_burst": ctypes.CFUNCTYPE(_u16, _int, _u16, _i64, _i64, _u16)(lambda *a: rig.dequeue(*a)),
    "full": ctypes.CFUNCTYPE(_u16, _i64, _i64, _u16)(lambda *_: 0),
    "rx": ctypes.CFUNCTYPE(_u16, _i64, _i64, _u16)(lambda *a: rig.receive(*a)),
}


def address_of(name: str) -> int:
    return ctypes.cast(CALLBACKS[name], ctypes.c_void_p).value or 0


with numba_cache(cache_dir(), library.load().version):
    from engine.dpdk.installed import LAYOUT  # isort: skip - loads the libraries, whose symbols then give way to these

    for _name in CALLBACKS.keys() - {"rx", "full"}:
        binding.add_symbol(_name, address_of(_name))
    from engine.burst import checksum, flow, queue_spread, to_vf
    from engine.burst.compiled.memory import Block
    from tests.engine.burst.doubles.fake_mempool import LCORE, CachedPool


def mbuf_of(frame: bytes, cuts: Sequence[int] = (), flags: int = 0, lengths: int = 0, rss: int = 0) -> list[Block]:
    """A packet in one buffer, or chained in several cut at these offsets: first the mbuf, then what keeps it alive."""
    edges = [0, *sorted(cut for cut in set(cuts) if 0 < cut < len(frame)), len(frame)]
    parts = [frame[begin:end] for begin, end in itertools.pairwise(edges)] or [b""]
    blocks: list[Block] = []
    chain = 0
    for part in reversed(parts):
        buffer, mbuf = Block(HEADROOM + max(1, len(part))), Block(LAYOUT.mbuf.size)
        buffer.write_bytes(HEADROOM, part)
        mbuf.write(LAYOUT.mbuf.buf_addr, buffer.address)
        mbuf.write_bytes(LAYOUT.mbuf.data_off, HEADROOM.to_bytes(2, "little"))
        mbuf.write_bytes(LAYOUT.mbuf.data_len, len(part).to_bytes(2, "little"))
        mbuf.write_bytes(LAYOUT.mbuf.pkt_len, len(frame).to_bytes(4, "little"))
        mbuf.write(LAYOUT.mbuf.next, chain)
        chain = mbuf.address
        blocks = [mbuf, buffer, *blocks]
    blocks[0].write(LAYOUT.mbuf.ol_flags, flags)
    blocks[0].write(LAYOUT.mbuf.tx_offload, lengths)
    blocks[0].write_bytes(LAYOUT.mbuf.hash, rss.to_bytes(4, "little"))
    return blocks


def content(blocks: list[Block]) -> bytes:
    return b"".join(
        buffer.read_bytes(HEADROOM, int.from_bytes(mbuf.read_bytes(LAYOUT.mbuf.data_len, 2), "little"))
        for mbuf, buffer in zip(blocks[::2], blocks[1::2], strict=True)
    )


def ipv4(
    source: int, port: int, payload: bytes = b"", protocol: int = 17, fragment: int = 0, vlan: int | None = None
) -> bytes:
    tag = struct.pack("!HH", 0x8100, vlan) if vlan is not None else b""
    header = struct.pack("!BBHHHBBHII", 0x45, 0, 28 + len(payload), 0, fragment, 64, protocol, 0, source, 0x0A000001)
    return bytes(12) + tag + b"\x08\x00" + header + struct.pack("!HHHH", port, 53, 8, 0) + payload


def ipv6(source: int, port: int, payload: bytes = b"") -> bytes:
    header = struct.pack("!IHBB", 6 << 28, 8 + len(payload), 17, 64) + source.to_bytes(16, "big") + bytes(16)
    return bytes(12) + b"\x86\xdd" + header + struct.pack("!HHHH", port, 53, 8, 0) + payload


def hash_of(frame: bytes) -> int:
    blocks = mbuf_of(frame)  # held, for the mbuf points at its buffer
    return int(flow.flow_hash(blocks[0].address))


@given(st.integers(0, 2**32 - 1), st.integers(0, 65535), st.binary(max_size=40), st.binary(max_size=40))
def test_a_flow_has_one_hash_whatever_it_carries(source: int, port: int, one: bytes, other: bytes) -> None:
    assert hash_of(ipv4(source, port, one)) == hash_of(ipv4(source, port, other))
    assert hash_of(ipv6(source, port, one)) == hash_of(ipv6(source, port, other))
    assert hash_of(ipv4(source, port, one, vlan=7)) == hash_of(ipv4(source, port, other, vlan=7))


@given(st.integers(0, 2**32 - 1), st.integers(0, 65535), st.integers(0, 65535), st.sampled_from([0x2000, 1, 0x1FFF]))
def test_fragments_of_a_packet_stay_together(source: int, one: int, other: int, fragment: int) -> None:
    assert hash_of(ipv4(source, one, fragment=fragment)) == hash_of(ipv4(source, other, fragment=fragment))


def test_flows_spread_evenly() -> None:
    for make in (ipv4, ipv6):
        counts = [0] * 4
        for port in range(2000):
            counts[hash_of(make(0x0A000002, port)) * 4 >> 32] += 1
        assert min(counts) > 400


def test_vlan_and_protocol_tell_flows_apart() -> None:
    assert len({hash_of(ipv4(1, 1, vlan=vlan)) for vlan in range(64)}) == 64
    assert hash_of(ipv4(1, 1, protocol=17)) != hash_of(ipv4(1, 1, protocol=6))


@given(st.integers(0, 2**32 - 1), st.binary(max_size=60))
def test_the_nics_own_hash_is_taken(rss: int, frame: bytes) -> None:
    blocks = mbuf_of(frame, flags=MBUF_F_RX_RSS_HASH, rss=rss)
    assert flow.flow_hash(blocks[0].address) == rss


@given(st.binary(max_size=80), st.sampled_from([b"\x08\x00", b"\x86\xdd", b"\x81\x00", b"\x08\x06"]))
def test_any_bytes_have_a_hash_of_32_bits(tail: bytes, kind: bytes) -> None:
    for frame in (tail, bytes(12) + kind + tail):
        assert 0 <= hash_of(frame) < 2**32


def slow_checksum(data: bytes) -> int:
    """RFC 1071, a byte at a time."""
    total = sum(byte << 8 if index % 2 == 0 else byte for index, byte in enumerate(data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@given(
    st.binary(max_size=200),
    st.sampled_from([6, 17]),
    st.lists(st.integers(60, 260), max_size=3),
    st.integers(0, 0xFFFF),
)
def test_open_checksums_are_finished_over_chains(payload: bytes, protocol: int, cuts: list[int], pseudo: int) -> None:
    field = 16 if protocol == 6 else 6
    layer4 = bytearray(20) + payload
    layer4[field : field + 2] = pseudo.to_bytes(2, "big")
    frame = bytes(ETHER + 20) + bytes(layer4)
    kind = MBUF_F_TX_TCP_CKSUM if protocol == 6 else MBUF_F_TX_UDP_CKSUM
    blocks = mbuf_of(frame, cuts, flags=kind, lengths=ETHER | 20 << 7)
    checksum.finish_checksum(blocks[0].address)
    wanted = slow_checksum(bytes(layer4)) or (0 if protocol == 6 else 0xFFFF)
    assert content(blocks) == frame[: 34 + field] + wanted.to_bytes(2, "big") + frame[34 + field + 2 :]
    assert blocks[0].read(LAYOUT.mbuf.ol_flags) == 0


@given(st.binary(max_size=64), st.integers(0, 2**24 - 1), st.sampled_from([0, 1 << 52, 2 << 52, 3 << 52]))
def test_a_guest_that_lies_about_its_headers_changes_nothing_outside(frame: bytes, lengths: int, kind: int) -> None:
    blocks = mbuf_of(frame, flags=kind, lengths=lengths)
    checksum.finish_checksum(blocks[0].address)
    assert len(content(blocks)) == len(frame)
    assert blocks[1].read_bytes(0, HEADROOM) == bytes(HEADROOM)


TURNS = st.lists(
    st.tuples(
        st.lists(st.integers(0, 7), max_size=40),
        st.sampled_from([0b11, 0b1111, 0b1010, 0b1000000, (1 << 32) - 1]),
        st.lists(st.integers(0, 40), min_size=32, max_size=32),
    ),
    max_size=12,
)


@given(TURNS)
def test_every_packet_is_delivered_in_its_flows_order_or_counted(turns: list[tuple[list[int], int, list[int]]]) -> None:
    global rig
    rig = Rig()
    entry, port, fp_ops, queue = Block(at.ENTRY_SIZE), Block(at.PORT_SIZE), Block(128), Block(8)
    entry.write(at.ENTRY_PORT, port.address)
    pool = CachedPool()
    port.write(at.PORT_POOL, pool.address)
    entry.write(at.ENTRY_LCORE, LCORE)
    fp_ops.write(LAYOUT.fp_ops.rx_pkt_burst, address_of("rx"))
    fp_ops.write(LAYOUT.fp_ops.rxq_data, queue.address)
    alive: dict[int, tuple[int, list[Block]]] = {}
    flows: dict[int, int] = {}
    for flows_arriving, mask, room in turns:
        for number in flows_arriving:
            blocks = mbuf_of(ipv4(number, number))
            blocks[0].write_bytes(LAYOUT.mbuf.refcnt, ONE_REFERENCE_ONE_SEGMENT)
            blocks[0].write(LAYOUT.mbuf.pool, pool.address)
            alive[blocks[0].address] = (len(alive), blocks)
            flows[blocks[0].address] = number
            rig.arriving.append(blocks[0].address)
        rig.room = defaultdict(int, enumerate(room))
        before = {name: list(seen) for name, seen in rig.delivered.items()}
        queue_spread.spread(entry.address, fp_ops.address, 1, 1, mask)
        for index, seen in rig.delivered.items():
            assert seen == before.get(index, []) or mask >> index & 1, "sent to a queue that is not enabled"
        assert rig.kickless >= {(0, 2 * index) for index in range(32) if mask >> index & 1}
    counted = dict(zip(at.COUNTERS, words(entry.address + at.ENTRY_COUNTERS, len(at.COUNTERS)), strict=True))
    delivered = sum(len(seen) for seen in rig.delivered.values())
    assert counted["tx_packets"] == delivered
    lost = counted["guest_full_packets"] + counted["guest_absent_packets"]
    assert counted["rx_packets"] == delivered + lost + entry.read(at.ENTRY_STAGED) == len(alive) - len(rig.arriving)
    rig.freed += pool.take()
    assert pool.intact()
    assert len(rig.freed) == len(set(rig.freed)) == delivered + lost
    for seen in rig.delivered.values():
        for number in range(8):
            order = [alive[mbuf][0] for mbuf in seen if flows[mbuf] == number]
            assert order == sorted(order)


@given(st.lists(st.integers(2, 2**32 - 1), min_size=1, max_size=6))
def test_a_guests_queues_are_asked_once_a_turn_and_in_turns_while_the_vf_is_full(masks: list[int]) -> None:
    global rig
    entry, port, fp_ops, queue = Block(at.ENTRY_SIZE), Block(at.PORT_SIZE), Block(128), Block(8)
    entry.write(at.ENTRY_PORT, port.address)
    fp_ops.write(LAYOUT.fp_ops.tx_pkt_burst, address_of("full"))
    fp_ops.write(LAYOUT.fp_ops.txq_data, queue.address)
    blocks = mbuf_of(ipv4(1, 1))
    for mask in masks:
        enabled = [index for index in range(32) if mask >> index & 1]
        rig = Rig()
        to_vf.gather(entry.address, fp_ops.address, 1, 1, 0, mask)
        assert sorted(rig.asked) == enabled
        rig.asked, rig.sends, rig.arriving = [], 1, [blocks[0].address] * len(enabled)
        for _ in enabled:
            assert to_vf.gather(entry.address, fp_ops.address, 1, 1, 0, mask) == 1
            entry.write(at.ENTRY_WAITING, 0)
        assert sorted(rig.asked) == enabled
