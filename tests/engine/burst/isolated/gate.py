"""The gate for vhost-user messages against a table of what is sound, with fakes for what rte_vhost says of a ring."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from llvmlite import binding

from engine.burst.compiled import layout as at
from engine.burst.compiled.cache import numba_cache
from engine.burst.compiled.memory import Block
from engine.dpdk import layout as dpdk
from engine.dpdk import library
from schema.paths import cache_dir
from tests.kit.guests import vhost_peer as vhost

VID, ENTRIES = 0, 256
MOST_MEMORY = 1 << 40
PACKED = 1 << dpdk.VIRTIO_F_RING_PACKED
EVENT_IDX = 1 << dpdk.VIRTIO_RING_F_EVENT_IDX
_int, _i64, _u16 = ctypes.c_int, ctypes.c_int64, ctypes.c_uint16


class Ring:
    """What rte_vhost says of every ring."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.entries, self.descriptors, self.base = ENTRIES, 0, 0
        self.parts: dict[str, int] = {}

    def tell(self, _vid: int, _ring: int, vring: int) -> int:
        layout = library.load().layout.vring
        ctypes.memset(vring, 0, layout.size)
        _i64.from_address(vring + layout.desc).value = self.descriptors
        for part, address in self.parts.items():
            _i64.from_address(vring + getattr(layout, part)).value = address
        _u16.from_address(vring + layout.entries).value = self.entries
        return 0

    def tell_base(self, _vid: int, _ring: int, available: int, _used: int) -> int:
        _u16.from_address(available).value = self.base
        return 0


ring = Ring()
STAND_INS = {
    "rte_vhost_get_vhost_vring": ctypes.CFUNCTYPE(_int, _int, _int, _i64)(ring.tell),
    "rte_vhost_get_vring_base": ctypes.CFUNCTYPE(_int, _int, _int, _i64, _i64)(ring.tell_base),
}
library.load()
for name, stand_in in STAND_INS.items():
    binding.add_symbol(name, ctypes.cast(stand_in, ctypes.c_void_p).value or 0)
with numba_cache(cache_dir(), library.load().version):
    from engine.burst.vhost import gate

guest = Block(at.GUEST_SIZE)


@pytest.fixture(autouse=True)
def fresh() -> None:
    ring.reset()
    guest.write(at.GUEST_RINGS, 0)
    guest.write(at.GUEST_MOST_MEMORY, MOST_MEMORY)


def message(request: int, payload: bytes = b"", fds: Sequence[int] = (), size: int | None = None) -> Block:
    offsets, block = dpdk.RTE_VHOST_MESSAGE, Block(dpdk.RTE_VHOST_MESSAGE.fd_count + 8)
    said = len(payload) if size is None else size
    block.write_bytes(offsets.request, struct.pack("<III", request, vhost.VERSION | vhost.NEED_REPLY, said) + payload)
    block.write_bytes(offsets.fds, struct.pack("<8i", *fds, *[-1] * (8 - len(fds))))
    block.write_bytes(offsets.fd_count, struct.pack("<i", len(fds)))
    return block


def sound(request: int, payload: bytes = b"", fds: Sequence[int] = (), features: int = 0) -> bool:
    said = message(request, payload, fds)
    return bool(gate.sound(VID, guest.address, said.address, features))


@contextlib.contextmanager
def memory(size: int) -> Iterator[int]:
    fd = os.memfd_create("gate", os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, size)
        yield fd
    finally:
        os.close(fd)


def test_only_what_a_network_device_needs_is_known() -> None:
    known = [request for request in range(256) if sound(request, bytes(300))]
    assert set(known) >= {vhost.GET_FEATURES, vhost.SET_OWNER, vhost.GET_VRING_BASE, vhost.SET_STATUS, vhost.SEND_RARP}
    assert set(known) <= {*range(1, 22), vhost.SET_STATUS, vhost.GET_STATUS}


@pytest.mark.parametrize(
    ("request_", "least"),
    [(2, 8), (8, 8), (9, 40), (10, 8), (11, 8), (13, 8), (14, 8), (16, 8), (18, 8), (19, 8), (20, 8), (39, 8)],
)
def test_a_payload_must_be_there_whole(request_: int, least: int) -> None:
    for size in (0, least - 1, least):
        said = message(request_, vhost.state(0, ENTRIES) + bytes(40), size=size)
        assert bool(gate.sound(VID, guest.address, said.address, 0)) == (size == least)


@pytest.mark.parametrize("request_", [8, 9, 10, 11, 12, 13, 14, 18])
def test_a_ring_beyond_the_last_is_refused(request_: int) -> None:
    guest.write(at.GUEST_RINGS, -1)
    for index in (0, 63):
        assert sound(request_, vhost.state(index, ENTRIES if request_ == 8 else 0) + bytes(40))
    for index in (64, 255):
        assert not sound(request_, vhost.state(index, ENTRIES) + bytes(40))


@pytest.mark.parametrize("packed", [False, True])
def test_sizes_of_rings(packed: bool) -> None:
    features = PACKED if packed else 0
    for size in (1, 2, 256, 32_768):
        assert sound(vhost.SET_VRING_NUM, vhost.state(0, size), features=features)
    for size in (0, 32_769, 65_536, 1 << 31):
        assert not sound(vhost.SET_VRING_NUM, vhost.state(0, size), features=features)
    assert sound(vhost.SET_VRING_NUM, vhost.state(0, 255), features=features) == packed


def test_a_ring_with_addresses_keeps_its_size_and_place() -> None:
    ring.descriptors = 0x1000
    assert sound(vhost.SET_VRING_NUM, vhost.state(0, ENTRIES))
    assert not sound(vhost.SET_VRING_NUM, vhost.state(0, 2 * ENTRIES))
    assert not sound(vhost.SET_VRING_BASE, vhost.state(0, 0))


def test_a_ring_starts_with_a_size_alone() -> None:
    kick = vhost.u64(3)
    assert not sound(vhost.SET_VRING_KICK, kick)
    size, stop = message(vhost.SET_VRING_NUM, vhost.state(3, ENTRIES)), message(vhost.GET_VRING_BASE, vhost.state(3, 0))
    gate.note_ring(guest.address, size.address)
    assert sound(vhost.SET_VRING_KICK, kick)
    ring.entries = 0
    assert not sound(vhost.SET_VRING_KICK, kick)
    ring.reset()
    gate.forget_rings(guest.address, stop.address)
    assert not sound(vhost.SET_VRING_KICK, kick)


def test_a_packed_ring_goes_on_within_itself() -> None:
    guest.write(at.GUEST_RINGS, 1)
    for base, within in ((ENTRIES - 1, True), (ENTRIES, False), (0x8000 | (ENTRIES - 1), True)):
        ring.base = base
        assert sound(vhost.SET_VRING_KICK, vhost.u64(0), features=PACKED) == within
        assert sound(vhost.SET_VRING_KICK, vhost.u64(0))


@pytest.mark.parametrize(
    ("features", "part", "length"),
    [
        (0, "desc", 16 * ENTRIES),
        (0, "avail", 4 + 2 * ENTRIES),
        (EVENT_IDX, "avail", 6 + 2 * ENTRIES),
        (0, "used", 4 + 8 * ENTRIES),
        (EVENT_IDX, "used", 6 + 8 * ENTRIES),
        (PACKED, "desc", 16 * ENTRIES),
        (PACKED, "avail", 4),
        (PACKED, "used", 4),
    ],
)
def test_a_ring_lies_in_one_region_whole(features: int, part: str, length: int) -> None:
    start, size = 1 << 32, 1 << 20
    guest.write(at.GUEST_REGIONS, 2)
    for index, region in enumerate((start, start + size)):  # two regions side by side are no one region
        guest.write(at.GUEST_REGION + 16 * index, region)
        guest.write(at.GUEST_REGION + 16 * index + 8, size)
    said = message(vhost.SET_VRING_ADDR, vhost.ring_address(1))
    last = start + size - length
    for address, within in ((0, True), (start, True), (last, True), (last + 1, False)):
        ring.parts = {part: address}
        assert bool(gate.rings_within(VID, guest.address, said.address, features)) == within
    ring.parts = {part: start - 1}
    assert not gate.rings_within(VID, guest.address, said.address, features)


def test_features_that_shape_rings_stay_while_there_are_some() -> None:
    shaping, other = vhost.u64(PACKED), vhost.u64(1 << dpdk.VHOST_F_LOG_ALL)
    assert sound(vhost.SET_FEATURES, shaping)
    guest.write(at.GUEST_RINGS, 1)
    assert not sound(vhost.SET_FEATURES, shaping)
    assert sound(vhost.SET_FEATURES, shaping, features=PACKED)
    assert sound(vhost.SET_FEATURES, other)
    assert not sound(vhost.RESET_OWNER)


def test_memory_is_there_and_can_be_mapped() -> None:
    def table(size: int, offset: int) -> bytes:
        return vhost.memory_table(vhost.region(0, size, vhost.USER_ADDRESS, offset))

    with memory(8192) as fd:
        for size, offset in ((8192, 0), (4096, 4096), (1, 0), (100, 8000)):
            assert sound(vhost.SET_MEM_TABLE, table(size, offset), [fd])
        for size, offset in ((8193, 0), (8192, 1), (0, 0), (1 << 63, 0), (8192, (1 << 64) - 4096), (1 << 47, 0)):
            assert not sound(vhost.SET_MEM_TABLE, table(size, offset), [fd])
        assert not sound(vhost.SET_MEM_TABLE, table(8192, 0), [fd, fd])
        assert not sound(vhost.SET_MEM_TABLE, vhost.memory_table(), [])
        read_only = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)
        assert not sound(vhost.SET_MEM_TABLE, table(8192, 0), [read_only])
        os.close(read_only)
        assert not sound(vhost.SET_MEM_TABLE, table(8192, 0), [read_only])


def test_a_table_fits_whole() -> None:
    """Each region alone could be mapped; together they are more than the address space, or than a guest may have."""

    def regions(count: int, size: int) -> bytes:
        return vhost.memory_table(*(vhost.region(i * 2 * size, size, i * 2 * size, 0) for i in range(count)))

    for most, count, size, fits in (
        (1 << 40, 2, 1 << 39, True),
        (1 << 40, 2, (1 << 39) + 4096, False),
        (1 << 62, 2, 1 << 45, True),
        (1 << 62, 2, 1 << 46, False),
        (1 << 62, 8, 1 << 44, False),
    ):
        guest.write(at.GUEST_MOST_MEMORY, most)
        before = len(Path("/proc/self/maps").read_text().splitlines())
        with contextlib.ExitStack() as fds:
            given = [fds.enter_context(memory(size)) for _ in range(count)]
            assert sound(vhost.SET_MEM_TABLE, regions(count, size), given) == fits
        assert len(Path("/proc/self/maps").read_text().splitlines()) <= before + 2


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((0, 8192, 0), (4096, 8192, 1 << 20)),
        ((0, 8192, 0), (1 << 20, 8192, 4096)),
        ((0, 8192, 0), ((1 << 64) - 4096, 8192, 1 << 20)),
        ((0, 8192, 0), (1 << 20, 8192, (1 << 63) - 4096)),
    ],
)
def test_regions_neither_overlap_nor_go_round(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    with memory(8192) as fd:
        table = [vhost.region(guest_, size, user, 0) for guest_, size, user in (first, second)]
        assert not sound(vhost.SET_MEM_TABLE, vhost.memory_table(*table), [fd, fd])
        assert sound(vhost.SET_MEM_TABLE, vhost.memory_table(table[0]), [fd])


def test_what_is_no_memory_is_not_mapped(tmp_path: Path) -> None:
    """Files of a disk are; of a file whose server may never answer (FUSE), nothing is asked."""
    (tmp_path / "memory").write_bytes(bytes(8192))
    for opened, fine in ((os.open(tmp_path / "memory", os.O_RDWR), None), (os.open("/", os.O_RDONLY), False)):
        table = vhost.memory_table(vhost.region(0, 8192, vhost.USER_ADDRESS, 0))
        on_a_disk = os.major(os.fstat(opened).st_dev) != 0 if fine is None else False
        assert sound(vhost.SET_MEM_TABLE, table, [opened]) == on_a_disk
        os.close(opened)


def test_a_log_lies_at_the_beginning_of_its_memory() -> None:
    with memory(4096) as fd:
        assert not sound(vhost.SET_LOG_BASE, struct.pack("<QQ", 4096, 0), [fd])  # it could be made shorter later
        vhost.seal(fd)
        for size, offset, fine in ((4096, 0, True), (4097, 0, False), (1024, 1024, False), (0, 0, False)):
            assert sound(vhost.SET_LOG_BASE, struct.pack("<QQ", size, offset), [fd]) == fine


def test_no_notification_waits() -> None:
    event = os.eventfd(0)
    assert os.get_blocking(event)
    assert sound(vhost.SET_VRING_CALL, vhost.u64(0), [event])
    assert not os.get_blocking(event)
    os.close(event)
    with memory(8192) as fd:  # a write to a file may wait
        assert not sound(vhost.SET_VRING_CALL, vhost.u64(0), [fd])


def test_who_is_turned_away_leaves_nothing() -> None:
    reading, writing = os.pipe()
    said = message(vhost.SET_VRING_KICK, vhost.u64(0), [reading, writing])
    gate.turn_away(said.address)
    for fd in (reading, writing):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
    offsets = dpdk.RTE_VHOST_MESSAGE
    assert said.read_bytes(offsets.fd_count, 4) == bytes(4)
    assert said.read_bytes(offsets.flags, 4) == struct.pack("<I", vhost.VERSION)


def test_who_has_hung_up_is_known_whatever_he_said_before() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        assert not gate.hung_up(ours.fileno())
        theirs.send(b"last words")
        assert not gate.hung_up(ours.fileno())
        theirs.close()
        assert gate.hung_up(ours.fileno())
