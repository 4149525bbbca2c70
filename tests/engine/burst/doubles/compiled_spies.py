"""Spies for NIC and guest that are machine code, for threads that hold no GIL: each notes that it was used, and
whether it was used after it had been retired.

Import this before `engine.burst.loops`, in a process of its own (see fake_dpdk.py).
"""

from __future__ import annotations

from collections.abc import Iterable

from llvmlite import binding
from numba import cfunc, njit, types

from engine.burst.compiled import layout as at
from engine.burst.compiled.intrinsics import fetch_add, load_acquire, store64, store_release, symbol_address
from engine.burst.compiled.memory import Block
from engine.dpdk.installed import LAYOUT

SITES, GUESTS = 64, 32
"""How many there are; ports from 0, guests from GUESTS."""
RETIRED, WRONGS, SEEN, SITE_SIZE = 0, 8, 16, 64
FEATURES = 0x1_0000_8000
RING = 0x7F00_0000_1000
GUEST_IN_ASCII = int.from_bytes(b"/guest", "little")
WORLD = Block(SITES * SITE_SIZE)
binding.add_symbol("vio4wd_test_world", WORLD.address)

_i32, _i64, _u16 = types.int32, types.int64, types.uint16
world_address = symbol_address("vio4wd_test_world")
usleep = types.ExternalFunction("usleep", types.int32(types.int32))


def _look(site: int) -> None:
    """Looks at the beginning, and again after a while: a pass under way is caught at either."""
    address = world_address() + site * SITE_SIZE
    fetch_add(address + SEEN, 1)
    for _ in range(2):
        if load_acquire(address + RETIRED) != 0:
            fetch_add(address + WRONGS, 1)
        usleep(1)
    if load_acquire(address + RETIRED) != 0:
        fetch_add(address + WRONGS, 1)


look = njit(_look)


def _rx_burst(queue: int, _mbufs: int, _count: int) -> int:
    look(queue)
    return 0


def _avail_entries(vid: int, _queue: int) -> int:
    look(GUESTS + vid)
    return 0


def _dequeue(vid: int, _queue: int, _pool: int, _mbufs: int, _count: int) -> int:
    look(GUESTS + vid)
    return 0


def _get_ifname(vid: int, path: int, _length: int) -> int:
    """`/guest`, then a letter, then zeros; an unknown device has no name."""
    if vid < 0 or vid > 8:
        return -1
    store64(path, GUEST_IN_ASCII | (0x61 + vid) << 48)
    return 0


def _get_features(_vid: int, features: int) -> int:
    store_release(features, FEATURES)
    return 0


def _get_vring(_vid: int, _queue: int, vring: int) -> int:
    store64(vring, RING)
    return 0


def _get_vring_base(vid: int, _queue: int, _available: int, _used: int) -> int:
    """Asked by workers only, and by the gate."""
    look(GUESTS + vid)
    return 0


def _guest_notification(_vid: int, _queue: int, _enable: int) -> int:
    return 0


def _look_at_messages(_vid: int, _ops: int, _context: int) -> int:
    return 0


def path_of(vid: int) -> bytes:
    return b"/guest" + bytes([0x61 + vid])


def _leave_pass_of(worker: int) -> None:
    leave_pass(worker)


RX_BURST = cfunc(_u16(_i64, _i64, _i32))(_rx_burst)
REPLACED = {
    "rte_vhost_avail_entries": cfunc(_u16(_i32, _u16))(_avail_entries),
    "rte_vhost_dequeue_burst": cfunc(_u16(_i32, _u16, _i64, _i64, _u16))(_dequeue),
    "rte_vhost_get_ifname": cfunc(_i32(_i32, _i64, _i64))(_get_ifname),
    "rte_vhost_get_negotiated_features": cfunc(_i32(_i32, _i64))(_get_features),
    "rte_vhost_get_vhost_vring": cfunc(_i32(_i32, _u16, _i64))(_get_vring),
    "rte_vhost_get_vring_base": cfunc(_i32(_i32, _u16, _i64, _i64))(_get_vring_base),
    "rte_vhost_enable_guest_notification": cfunc(_i32(_i32, _u16, _i32))(_guest_notification),
    "rte_vhost_extern_callback_register": cfunc(_i32(_i32, _i64, _i64))(_look_at_messages),
}
for _name, _function in REPLACED.items():
    binding.add_symbol(_name, _function.address)

from engine.burst.compiled.quiesce import leave_pass  # noqa: E402 - after the symbols that the project's code may call

leave_pass_of = cfunc(types.void(_i64))(_leave_pass_of)


def _fp_ops() -> tuple[Block, Block]:
    """Ports whose queue pointer is their number; they never have a packet."""
    queues, ops = Block(8 * 32), Block(LAYOUT.fp_ops.size * 32)
    for port in range(32):
        queues.write(8 * port, port)
        ops.write(port * LAYOUT.fp_ops.size + LAYOUT.fp_ops.rx_pkt_burst, RX_BURST.address)
        ops.write(port * LAYOUT.fp_ops.size + LAYOUT.fp_ops.rxq_data, queues.address + 8 * port)
    return queues, ops


_QUEUES, FP_OPS = _fp_ops()
_kept: list[Block] = []
"""Whatever a worker may still look at."""


class Entry(Block):
    """An entry from VF to VM; `port` is a site, or None for no VF."""

    def __init__(self, port: int | None, guest: int | None = None) -> None:
        super().__init__(at.ENTRY_SIZE)
        self.port, no_guest = Block(at.PORT_SIZE), Block(at.GUEST_SIZE)
        self.port.write(at.PORT_ID, 0 if port is None else port + 1)
        self.write(at.ENTRY_PORT, self.port.address)
        self.write(at.ENTRY_GUEST, guest or no_guest.address)
        _kept.extend((self, self.port, no_guest))


def table_of(entries: Iterable[Entry]) -> Block:
    listed = list(entries)
    table = Block(at.TABLE_ENTRIES + 8 * len(listed))
    table.write(at.TABLE_COUNT, len(listed))
    for index, entry in enumerate(listed):
        table.write(at.TABLE_ENTRIES + 8 * index, entry.address)
    _kept.append(table)
    return table


def forget() -> None:
    WORLD.write_bytes(0, bytes(WORLD.size))
    _kept.clear()


def retire(site: int, retired: bool) -> None:
    """From now on, nobody may use this site; or anybody again."""
    WORLD.write(site * SITE_SIZE + RETIRED, int(retired))


def wrongs(site: int) -> int:
    """How often it was used while it was retired."""
    return WORLD.read(site * SITE_SIZE + WRONGS)


def seen(site: int) -> int:
    return WORLD.read(site * SITE_SIZE + SEEN)
