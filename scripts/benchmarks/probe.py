"""A guest that times packets: `python -m scripts.benchmarks.probe SOCKET`, a process of its own.

It sends one packet, waits until it is back, and lets some time pass before the next. Each line on standard input is a
number of packets; the answer is one line, a JSON list of as many times in microseconds.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Callable

from engine.burst.compiled.cache import numba_cache
from engine.burst.compiled.memory import Block, read_word
from engine.dpdk import library
from engine.dpdk.ethdev import Ethdevs, Setup
from engine.dpdk.library import check, function
from engine.dpdk.mbuf import Mbufs
from schema.paths import cache_dir

GAP_US = 50
"""Between a packet's return and the next: the relay is idle then."""
LOST_US = 1_000_000
DESCRIPTORS = 256
MBUFS = 2048
ROOM_BYTES = 2048
RX, RXQ, TX, TXQ, COUNT, GAP, LOST, MBUF, RESULTS = range(0, 72, 8)
"""Words of the block that the compiled loop reads, the last for the packet; the results follow, in cycles."""


def compiled() -> Callable[[int], int]:
    """Sends and receives as the block says: how many packets came back."""
    from numba import cfunc, types

    from engine.burst.compiled.intrinsics import call_burst, load64, pause, rdtsc, store64

    def probe(block: int) -> int:
        mbuf = block + MBUF
        for index in range(load64(block + COUNT)):
            sent = rdtsc()
            while call_burst(load64(block + TX), load64(block + TXQ), mbuf, 1) == 0:
                pause()
            while call_burst(load64(block + RX), load64(block + RXQ), mbuf, 1) == 0:
                if rdtsc() - sent > load64(block + LOST):
                    return index
            now = rdtsc()
            store64(block + RESULTS + 8 * index, now - sent)
            while rdtsc() - now < load64(block + GAP):
                pause()
        return int(load64(block + COUNT))

    call: Callable[[int], int] = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(
        cfunc(types.int64(types.int64))(probe).address
    )
    return call


class Probe:
    """The virtio port on the socket, and one packet."""

    def __init__(self, dpdk: library.Dpdk, socket: str) -> None:
        self._layout = dpdk.layout
        self._hz = self._start(dpdk)
        self._mbuf = 0
        self._ethdevs = Ethdevs(dpdk)
        self._pool = Mbufs(dpdk).create("probe", MBUFS, ROOM_BYTES)
        self._port = self._attach("net_virtio_user0", f"path={socket},queue_size={DESCRIPTORS}")
        self._source = self._attach("net_null0", "size=64")
        self._loop = compiled()

    @staticmethod
    def _start(dpdk: library.Dpdk) -> int:
        words = ["probe", "--lcores=0@0", "--in-memory", "--single-file-segments", "--no-pci", "--no-telemetry"]
        words += [f"--file-prefix=v4p{os.getpid():x}", "--log-level=4"]
        start = function(dpdk.eal, "rte_eal_init", ctypes.c_int, ctypes.c_int, ctypes.c_void_p)
        check("rte_eal_init", start(len(words), (ctypes.c_char_p * len(words))(*[word.encode() for word in words])))
        return int(function(dpdk.eal, "rte_get_tsc_hz", ctypes.c_uint64)())

    def _attach(self, name: str, args: str) -> int:
        port = self._ethdevs.attach(name, args)
        self._ethdevs.start(port, self._pool, Setup(DESCRIPTORS), 0)
        return port

    def _burst(self, port: int) -> tuple[int, int, int, int]:
        """Of a port: receive function and queue, send function and queue."""
        ops, base = self._layout.fp_ops, self._ethdevs.fp_ops + port * self._layout.fp_ops.size
        rx, rxq, tx, txq = (base + at for at in (ops.rx_pkt_burst, ops.rxq_data, ops.tx_pkt_burst, ops.txq_data))
        return read_word(rx), read_word(read_word(rxq)), read_word(tx), read_word(read_word(txq))

    def times_us(self, count: int) -> list[float]:
        """So many packets, one after the other. Raises RuntimeError when one does not come back."""
        block = Block(RESULTS + 8 * count)
        per_us = self._hz // 10**6
        words = (*self._burst(self._port), count, GAP_US * per_us, LOST_US * per_us, self._packet())
        for index, value in enumerate(words):
            block.write(8 * index, value)
        back = self._loop(block.address)
        if back < count:
            raise RuntimeError(f"packet {back + 1} of {count} did not come back")
        self._mbuf = block.read(MBUF)
        return [block.read(RESULTS + 8 * index) / per_us for index in range(count)]

    def _packet(self) -> int:
        """The one that came back last, at first a new one of net_null's making."""
        if self._mbuf == 0:
            receive, queue, _, _ = self._burst(self._source)
            mbuf = ctypes.c_int64()
            prototype = ctypes.CFUNCTYPE(ctypes.c_uint16, ctypes.c_int64, ctypes.c_void_p, ctypes.c_uint16)
            prototype(receive)(queue, ctypes.byref(mbuf), 1)
            self._mbuf = mbuf.value
        return self._mbuf


def main() -> int:
    dpdk = library.load()
    with numba_cache(cache_dir(), dpdk.version):
        probe = Probe(dpdk, sys.argv[1])
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps([round(time, 3) for time in probe.times_us(int(line))]), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
