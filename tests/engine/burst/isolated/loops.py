"""The compiled turns beside a reference implementation, with fakes for NIC and guest."""

from __future__ import annotations

import ctypes
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.burst.compiled.cache import numba_cache
from engine.dpdk import library
from schema.paths import cache_dir
from schema.wire.descriptors import Wakeup
from tests.engine.burst.doubles.reference_entry import Packet, ReferenceEntry, Surroundings
from tests.kit.runner.repetitions import times

with numba_cache(cache_dir(), library.load().version):
    from tests.engine.burst.doubles import fake_dpdk  # isort: skip - its symbols must be there first
    from engine.burst import counting, loops, to_guest, to_vf
    from engine.burst.compiled import layout as at
    from engine.burst.compiled.memory import Block
    from engine.burst.vhost import connection, events
    from engine.dataplane.context import Context

settings.register_profile("loops", deadline=None, max_examples=times(80, 500), suppress_health_check=list(HealthCheck))
settings.load_profile("loops")

LENGTHS = st.one_of(st.integers(1, 9216), st.sampled_from([0, 60, 64, 1518, 65_535, 2**31, 2**32 - 1]))
FEATURES = st.sampled_from([0, 1 << 26, 1 << 34, 1 << 26 | 1 << 34, 1 << 32, ~(1 << 26 | 1 << 34) & (2**63 - 1)])
SURROUNDINGS = st.builds(
    Surroundings,
    vf=st.sampled_from([True, True, True, False]),
    guest=st.sampled_from([True, True, True, False]),
    features=FEATURES,
    arrives=st.one_of(st.lists(LENGTHS, max_size=40), st.lists(st.just(64), min_size=60, max_size=200)).map(tuple),
    room=st.one_of(st.just(256), st.integers(0, 40), st.just(65_535)),
    takes=st.one_of(st.just(32), st.integers(0, 32)),
)
DIRECTIONS = st.sampled_from([at.VF_TO_VM, at.VM_TO_VF])


@dataclass
class Pair:
    """A compiled entry and its reference implementation, which see the same packets arrive."""

    world: fake_dpdk.World
    place: fake_dpdk.Place
    reference: ReferenceEntry

    @classmethod
    def of(cls, world: fake_dpdk.World, direction: int) -> Pair:
        return cls(world, world.add(direction), ReferenceEntry(direction))

    def surround(self, now: Surroundings) -> None:
        arriving = self.world.packets(now.arrives)
        self.place.surround(now, arriving)
        self.reference.inbox += arriving

    def compare(self, before: dict[str, int]) -> None:
        place, reference, after = self.place, self.reference, self.place.counters()
        self.world.settle()
        assert self.world.wrongs == []
        assert place.waiting() == reference.waiting
        assert place.sent == reference.sent
        assert place.inbox == reference.inbox
        assert {name: value for name, value in after.items() if name != "busy_cycles"} == reference.counters()
        assert all(after[name] >= value for name, value in before.items()), "a counter went backwards"
        assert place.intact()

    def check_every_packet(self) -> None:
        """Each packet received was sent, was dropped, or waits: once, and those sent and waiting in their order."""
        ended = [packet for packets in self.reference.dropped.values() for packet in packets]
        kept = [*self.place.sent, *self.place.waiting()]
        assert sorted(packet.serial for packet in kept) == [packet.serial for packet in kept]
        assert sorted(ended + kept, key=lambda packet: packet.serial) == self.reference.received


def check_mbufs(world: fake_dpdk.World, pairs: list[Pair]) -> None:
    """An mbuf is in use for each packet that waits and for nothing else."""
    world.settle()
    waiting = [packet for pair in pairs for packet in pair.place.waiting()]
    by_serial = sorted(world.mbufs.packets.values(), key=lambda packet: packet.serial)
    assert by_serial == sorted(waiting, key=lambda packet: packet.serial)


def compiled_turn(world: fake_dpdk.World, place: fake_dpdk.Place, how: str) -> int:
    entry, fp_ops = place.entry.address, world.fp_ops.address
    if how == "turn":
        return int(loops.poll(entry, fp_ops, fake_dpdk.DRAIN_POOL))
    if how == "timed":
        return int(loops.charged_turn(entry, fp_ops, fake_dpdk.DRAIN_POOL, 1, 0)[0])
    if place.entry.read(at.ENTRY_DIRECTION) == at.VF_TO_VM:
        return int(to_guest.vf_to_vm(entry, fp_ops))
    return int(to_vf.vm_to_vf(entry, fp_ops, fake_dpdk.DRAIN_POOL))


@given(direction=DIRECTIONS, how=st.sampled_from(["turn", "direct"]), story=st.lists(SURROUNDINGS, max_size=30))
def test_a_direction_does_what_the_reference_does(direction: int, how: str, story: list[Surroundings]) -> None:
    world = fake_dpdk.fresh()
    pair = Pair.of(world, direction)
    for now in story:
        pair.surround(now)
        before = pair.place.counters()
        assert compiled_turn(world, pair.place, how) == pair.reference.poll(now)
        pair.compare(before)
        assert pair.place.counters()["busy_cycles"] == 0
    pair.check_every_packet()
    check_mbufs(world, [pair])


@given(direction=DIRECTIONS, story=st.lists(SURROUNDINGS, max_size=30))
def test_a_port_that_needs_service_is_never_left_alone(direction: int, story: list[Surroundings]) -> None:
    """An interval of one cycle: every timed turn in which nothing moves ends with service."""
    world = fake_dpdk.fresh()
    pair = Pair.of(world, direction)
    pair.place.port.write(at.PORT_SERVICE, 1)
    pair.reference.service = True
    for now in story:
        pair.surround(now)
        before = pair.place.counters()
        assert compiled_turn(world, pair.place, "timed") == pair.reference.poll(now)
        pair.compare(before)
        assert pair.place.served == pair.reference.served
    pair.check_every_packet()
    check_mbufs(world, [pair])


def test_service_waits_for_its_time() -> None:
    world = fake_dpdk.fresh()
    pair = Pair.of(world, at.VM_TO_VF)
    pair.place.port.write(at.PORT_SERVICE, 2**60)
    pair.surround(Surroundings(True, True, 0, (), 256, 32))
    pair.place.entry.write(at.ENTRY_SERVED, ctypes.CFUNCTYPE(ctypes.c_int64)(loops.read_tsc.address)())
    assert compiled_turn(world, pair.place, "timed") == 0
    assert pair.place.served == 0


def reference_round(pairs: list[Pair], nows: Sequence[Surroundings]) -> list[int]:
    """A turn each, then more for those that moved a whole burst, the last first: how many packets each moved."""
    moved = [pair.reference.poll(now) for pair, now in zip(pairs, nows, strict=False)]
    busy = [index for index, packets in enumerate(moved) if packets >= at.BURST][::-1]
    while busy and sum(moved) < loops.ROUND_PACKETS * len(pairs):
        packets = {index: pairs[index].reference.poll(nows[index]) for index in busy}
        for index, count in packets.items():
            moved[index] += count
        busy = [index for index in busy if packets[index] >= at.BURST][::-1]
    return moved


@given(
    directions=st.lists(DIRECTIONS, max_size=6),
    story=st.lists(st.tuples(*[SURROUNDINGS] * 6), max_size=8),
    weight=st.sampled_from([0, 1, loops.TIMED_PASSES]),
)
def test_a_round_is_a_turn_of_each_entry_and_more_of_the_busy_ones(
    directions: list[int], story: list[tuple[Surroundings, ...]], weight: int
) -> None:
    world = fake_dpdk.fresh()
    pairs = [Pair.of(world, direction) for direction in directions]
    table = Block(at.TABLE_ENTRIES + 8 * len(pairs))
    table.write(at.TABLE_COUNT, len(pairs))
    for index, pair in enumerate(pairs):
        table.write(at.TABLE_ENTRIES + 8 * index, pair.place.entry.address)
    for nows in story:
        for pair, now in zip(pairs, nows, strict=False):
            pair.surround(now)
        before = [pair.place.counters() for pair in pairs]
        moved = loops.one_round(table.address, world.fp_ops.address, fake_dpdk.DRAIN_POOL, weight)
        by_reference = reference_round(pairs, nows)
        assert moved == sum(by_reference)
        for pair, old, packets in zip(pairs, before, by_reference, strict=True):
            pair.compare(old)
            charged = pair.place.counters()["busy_cycles"] - old["busy_cycles"]
            assert (charged > 0) == (packets > 0 and weight > 0), "charged to the entries that moved packets"
            assert weight == 0 or charged % weight == 0
    check_mbufs(world, pairs)


def test_a_busy_entry_does_not_pay_for_idle_ones_with_each_burst() -> None:
    world = fake_dpdk.fresh()
    busy, *idle = [world.add(at.VM_TO_VF) for _ in range(10)]
    table = Block(at.TABLE_ENTRIES + 8 * 10)
    table.write(at.TABLE_COUNT, 10)
    for index, place in enumerate((busy, *idle)):
        table.write(at.TABLE_ENTRIES + 8 * index, place.entry.address)
        place.surround(Surroundings(True, True, 0, (), 256, 32), [])
    busy.inbox += world.packets((64,) * 1000)
    moved = loops.one_round(table.address, world.fp_ops.address, fake_dpdk.DRAIN_POOL, 1)
    assert moved == 10 * loops.ROUND_PACKETS
    assert [place.looked_at for place in idle] == [1] * 9
    assert world.wrongs == []


@given(story=st.lists(st.booleans(), max_size=200))
def test_every_pass_is_charged_for_once(story: list[bool]) -> None:
    """By itself, or by the timed one that ends its row; one that follows a sleep is always timed."""
    charged, untimed = 0, 0
    for slept in story:
        weight, untimed = loops.weigh(slept, untimed)
        charged += weight
        assert weight == 1 or not slept
    assert charged + untimed == len(story)
    assert untimed < loops.TIMED_PASSES


class Trickle(fake_dpdk.Place):
    """A guest that has so many packets at each look."""

    trickle: Iterator[int]

    def give(self, mbufs: int, most: int) -> int:
        self.inbox += self.world.packets((64,) * next(self.trickle, 0))
        return super().give(mbufs, most)


@given(arrives=st.lists(st.integers(0, 12), min_size=1, max_size=40))
def test_a_pass_goes_on_until_more_than_single_packets_come(arrives: list[int]) -> None:
    world = fake_dpdk.fresh()
    place = Trickle(world, 0, at.VM_TO_VF)
    world.places.append(place)
    place.trickle = iter(arrives)
    place.surround(Surroundings(True, True, 0, (), 256, 32), [])
    table = Block(at.TABLE_ENTRIES + 8)
    table.write(at.TABLE_COUNT, 1)
    table.write(at.TABLE_ENTRIES, place.entry.address)
    moved = loops.one_pass(table.address, world.fp_ops.address, fake_dpdk.DRAIN_POOL, loops.UNTIMED)
    rounds = (arrives + [0] * loops.PASS_VISITS)[: loops.PASS_VISITS // 2]
    many = [index for index, packets in enumerate(rounds) if packets >= loops.BREATH_LEAST]
    seen = rounds[: many[0] + 1] if many else rounds
    assert place.looked_at == len(seen)
    assert moved == max(seen)
    assert world.wrongs == []


def test_what_is_fetched_ahead_is_not_read() -> None:
    """The fake says that the guest's ring is where no memory is."""
    world = fake_dpdk.fresh()
    there, absent, disabled = [world.add(at.VF_TO_VM) for _ in range(3)]
    for place in (there, absent, disabled, world.add(at.VM_TO_VF)):
        place.surround(Surroundings(True, place is not absent, 0, (), 256, 32), [])
        place.guest.write(at.GUEST_RX_QUEUES, 0b10 if place is disabled else 0b11)
        assert loops.look_after(place.entry.address, world.fp_ops.address) == 0
    assert world.rings_asked == [(0, 0)]


@given(counter=st.integers(0, 2**60), size=st.integers(0, 2**60), packets=st.integers(0, 32), add=st.integers(0, 2**37))
def test_count(counter: int, size: int, packets: int, add: int) -> None:
    block = Block(24)
    for offset, value in enumerate((counter, size, 7)):
        block.write(8 * offset, value)
    counting.count(block.address, packets, add)
    assert fake_dpdk.words(block.address, 3) == [counter + packets, size + add, 7]


WORDS = st.integers(-(2**63), 2**63 - 1)


@given(mbufs=st.lists(WORDS, min_size=32, max_size=32), cut=st.integers(0, 32), data=st.data())
def test_close_up(mbufs: list[int], cut: int, data: st.DataObject) -> None:
    last = data.draw(st.integers(cut, 32))
    entry = Block(at.ENTRY_SIZE)
    for index, value in enumerate(mbufs):
        entry.write(at.ENTRY_MBUFS + 8 * index, value)
    counting.close_up(entry.address + at.ENTRY_MBUFS, entry.address + at.ENTRY_WAITING, cut, last)
    assert entry.read(at.ENTRY_WAITING) == last - cut
    assert fake_dpdk.words(entry.address + at.ENTRY_MBUFS, last - cut) == mbufs[cut:last]


REASONS = {
    name.removesuffix("_packets"): at.ENTRY_COUNTERS + 8 * index
    for index, name in enumerate(at.COUNTERS)
    if name.endswith("_packets")
}


@given(lengths=st.lists(LENGTHS, max_size=32), reason=st.sampled_from(sorted(REASONS)), through=st.booleans())
def test_drop(lengths: list[int], reason: str, through: bool) -> None:
    world = fake_dpdk.fresh()
    place = world.add(at.VF_TO_VM)
    for index, packet in enumerate(world.packets(tuple(lengths))):
        place.entry.write(at.ENTRY_MBUFS + 8 * index, world.mbufs.hold(packet))
    place.entry.write(at.ENTRY_WAITING, len(lengths))
    if through:
        ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)(loops.drop_waiting.address)(
            place.entry.address, REASONS[reason]
        )
    else:
        counting.drop(place.entry.address, REASONS[reason], len(lengths))
    assert world.wrongs == []
    assert world.mbufs.packets == {}
    assert place.entry.read(at.ENTRY_WAITING) == 0
    wanted = {f"{reason}_packets": len(lengths), f"{reason}_bytes": sum(lengths)}
    assert place.counters() == {**dict.fromkeys(at.COUNTERS, 0), **wanted}


def test_the_reasons_lie_where_the_loops_count_them() -> None:
    names = {"rx": at.RX, "tx": at.TX, "guest_absent": at.GUEST_ABSENT, "guest_full": at.GUEST_FULL}
    assert {**names, "vf_absent": at.VF_ABSENT, "vf_full": at.VF_FULL, "vf_unfit": at.VF_UNFIT} == REASONS
    assert at.ENTRY_COUNTERS + 8 * at.COUNTERS.index("busy_cycles") == at.BUSY_CYCLES


@given(
    left=st.one_of(st.text("/ab\0", max_size=128), st.text(max_size=60)).map(str.encode),
    right=st.one_of(st.none(), st.text("/ab\0", max_size=128).map(str.encode)),
)
def test_same_path(left: bytes, right: bytes | None) -> None:
    one, other = (bytes(each[:128]).ljust(128, b"x") for each in (left, left if right is None else right))
    left_block, right_block = Block(128), Block(128)
    left_block.write_bytes(0, one)
    right_block.write_bytes(0, other)
    wanted = b"\0" in one and one.split(b"\0")[0] == other.split(b"\0")[0] and b"\0" in other
    assert bool(connection.same_path(left_block.address, right_block.address)) == wanted


class Ring:
    """A callback context of its own, read by the engine's reader."""

    def __init__(self) -> None:
        self.callback_context = Block(at.CONTEXT_SIZE)
        self.roused = Wakeup()
        self.callback_context.write(at.CONTEXT_EVENT_FD, self.roused.fileno())

    def take(self) -> list[tuple[int, int]]:
        return [(event.kind, event.guest) for event in Context.take_events(cast(Any, SimpleNamespace(**vars(self))))]

    def close(self) -> None:
        self.roused.close()


EVENTS = st.tuples(st.integers(1, 3), st.integers(0, 63))
STORY = st.lists(st.one_of(st.none(), st.lists(EVENTS, max_size=8), st.integers(1, 1100)), max_size=12)


@given(story=STORY)
def test_the_ring_of_events(story: list[list[tuple[int, int]] | int | None]) -> None:
    """None: read. A list: push these. A number: push so many, to come round the ring or to overrun it."""
    ring, reference, lost = Ring(), deque[tuple[int, int]](), 0
    for step in [*story, None]:
        if step is None:
            assert ring.take() == list(reference)
            reference.clear()
            continue
        for event in step if isinstance(step, list) else [(1, index % 64) for index in range(step)]:
            events.push_event(ring.callback_context.address, *event)
            if len(reference) < at.EVENT_SLOTS:
                reference.append(event)
            else:
                lost += 1
    assert ring.callback_context.read(at.EVENTS_LOST) == lost
    ring.close()


def test_many_threads_push_and_none_of_their_events_is_lost_or_doubled() -> None:
    from numba import cfunc, types

    def push_all(context: int, first: int, count: int) -> None:
        for index in range(count):
            events.push_event(context, first, index)

    compiled = cfunc(types.void(types.int64, types.int64, types.int64))(push_all)
    call = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 3)(compiled.address)
    ring, producers, each = Ring(), 4, 200  # together fewer than the ring has slots: none may be counted as lost
    for _round in range(50):
        threads = [
            threading.Thread(target=call, args=(ring.callback_context.address, kind, each)) for kind in range(producers)
        ]
        seen: list[tuple[int, int]] = []
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            seen += ring.take()
        seen += ring.take()
        for kind in range(producers):
            assert [guest for k, guest in seen if k == kind] == list(range(each))
    assert ring.callback_context.read(at.EVENTS_LOST) == 0
    ring.close()


def test_the_stand_ins_are_what_the_loops_call() -> None:
    """Else everything above would have proved nothing: the real library would have crashed or said no."""
    world = fake_dpdk.fresh()
    place = world.add(at.VM_TO_VF)
    place.surround(Surroundings(True, True, 0, (64,), 0, 32), world.packets((64,)))
    assert loops.poll(place.entry.address, world.fp_ops.address, fake_dpdk.DRAIN_POOL) == 1
    assert place.sent == [Packet(0, 64)]
    assert Path("/proc/self/maps").read_text().count("librte_vhost") > 0
