"""Ethernet ports: attach at run time, set up, start, read, detach."""

from __future__ import annotations

import ctypes
import errno
from dataclasses import dataclass

from engine.dpdk import layout as dpdk
from engine.dpdk.layout import Layout
from engine.dpdk.library import Dpdk, DpdkError, check, function
from engine.dpdk.mbuf import Pool

STANDARD_MTU = 1500
ETH_TX_TSO = dpdk.ETH_TX_OFFLOAD_TCP_TSO | dpdk.ETH_TX_OFFLOAD_MULTI_SEGS | dpdk.ETH_TX_OFFLOAD_CHECKSUMS
"""What a device must have to cut long TCP frames, which lie in chained buffers."""
_LINK_STATUS_BIT = 1 << 34
"""struct rte_eth_link as one word: speed in the low half, then duplex, autonegotiation, status."""


@dataclass(frozen=True, slots=True)
class Setup:
    """How a port is to be set up; what the driver can't is left out."""

    descriptors: int
    """Of each ring; the driver adjusts it to what the device can."""
    queues: int = 1
    mtu: int = STANDARD_MTU
    checksums: bool = False
    tso: bool = False


@dataclass(frozen=True, slots=True)
class Started:
    """What a port was set up with."""

    queues: int
    checksums: bool
    tso: bool


@dataclass(frozen=True, slots=True)
class PortInfo:
    driver: str
    max_rx_queues: int
    max_tx_queues: int
    rx_offload_capa: int
    tx_offload_capa: int
    rss_flows: int
    max_mtu: int


@dataclass(frozen=True, slots=True)
class PortStats:
    imissed: int
    ierrors: int
    oerrors: int
    rx_nombuf: int


class Ethdevs:
    """rte_ethdev, by port id."""

    def __init__(self, dpdk: Dpdk) -> None:
        u16, void = ctypes.c_uint16, ctypes.c_void_p
        self._layout: Layout = dpdk.layout
        eth, eal = dpdk.ethdev, dpdk.eal
        self._probe = function(eal, "rte_dev_probe", ctypes.c_int, ctypes.c_char_p)
        self._remove = function(eal, "rte_dev_remove", ctypes.c_int, void)
        self._by_name = function(eth, "rte_eth_dev_get_port_by_name", ctypes.c_int, ctypes.c_char_p, void)
        self._configure = function(eth, "rte_eth_dev_configure", ctypes.c_int, u16, u16, u16, void)
        queue = (u16, u16, u16, ctypes.c_uint, void)
        self._rx_queue = function(eth, "rte_eth_rx_queue_setup", ctypes.c_int, *queue, void)
        self._tx_queue = function(eth, "rte_eth_tx_queue_setup", ctypes.c_int, *queue)
        self._adjust = function(eth, "rte_eth_dev_adjust_nb_rx_tx_desc", ctypes.c_int, u16, void, void)
        self._start = function(eth, "rte_eth_dev_start", ctypes.c_int, u16)
        self._stop = function(eth, "rte_eth_dev_stop", ctypes.c_int, u16)
        self._close = function(eth, "rte_eth_dev_close", ctypes.c_int, u16)
        self._promiscuous = function(eth, "rte_eth_promiscuous_enable", ctypes.c_int, u16)
        self._is_promiscuous = function(eth, "rte_eth_promiscuous_get", ctypes.c_int, u16)
        self._mtu = function(eth, "rte_eth_dev_get_mtu", ctypes.c_int, u16, void)
        self._allmulticast = function(eth, "rte_eth_allmulticast_enable", ctypes.c_int, u16)
        self._info = function(eth, "rte_eth_dev_info_get", ctypes.c_int, u16, void)
        self._link = function(eth, "rte_eth_link_get_nowait", ctypes.c_int, u16, void)
        self._stats = function(eth, "rte_eth_stats_get", ctypes.c_int, u16, void)
        self._mac = function(eth, "rte_eth_macaddr_get", ctypes.c_int, u16, void)
        self._numa = function(eth, "rte_eth_dev_socket_id", ctypes.c_int, u16)
        self._devices: dict[int, int] = {}
        """The address of each attached port's rte_device: a port that has failed may no longer say which it is."""
        self.fp_ops = ctypes.addressof(ctypes.c_char.in_dll(eth, "rte_eth_fp_ops"))
        """Address of the array of fast-path functions, `layout.fp_ops.size` bytes a port."""

    def port_id(self, name: str) -> int | None:
        """The id of an attached device, None if there is none. Attaching a name twice returns success: ask first."""
        found = ctypes.c_uint16()
        return found.value if self._by_name(name.encode(), ctypes.byref(found)) == 0 else None

    def attach(self, name: str, args: str) -> int:
        """Probes a device and gives its port id. Raises DpdkError (ENODEV, ENOMEM: the 33rd port, ...)."""
        devargs = f"{name},{args}" if args else name
        check(f"rte_dev_probe({devargs})", self._probe(devargs.encode()))
        port = self.port_id(name)
        if port is None:
            raise DpdkError(f"rte_dev_probe({devargs})", errno.ENODEV)
        try:
            self._devices[port] = int.from_bytes(self._info_bytes(port)[: ctypes.sizeof(ctypes.c_void_p)], "little")
        except DpdkError:
            self._close(port)
            raise
        return port

    def start(self, port: int, pool: Pool, setup: Setup, numa_node: int) -> Started:
        """Several receive queues and one to send, promiscuous, started. Raises DpdkError; the port stays attached."""
        info = self.info(port)
        queues = max(1, min(setup.queues, info.max_rx_queues))
        checksums = setup.checksums and info.tx_offload_capa & dpdk.ETH_TX_OFFLOAD_L4 == dpdk.ETH_TX_OFFLOAD_L4
        tso = checksums and setup.tso and info.tx_offload_capa & ETH_TX_TSO == ETH_TX_TSO
        conf = self._conf(info, setup, Started(queues, checksums, tso))
        check("rte_eth_dev_configure", self._configure(port, queues, 1, conf))
        rx, tx = ctypes.c_uint16(setup.descriptors), ctypes.c_uint16(setup.descriptors)
        check("rte_eth_dev_adjust_nb_rx_tx_desc", self._adjust(port, ctypes.byref(rx), ctypes.byref(tx)))
        node = ctypes.c_uint(numa_node).value
        for queue in range(queues):
            check("rte_eth_rx_queue_setup", self._rx_queue(port, queue, rx, node, None, pool.address))
        check("rte_eth_tx_queue_setup", self._tx_queue(port, 0, tx, node, None))
        check("rte_eth_dev_start", self._start(port))
        self.listen(port)
        return Started(queues, checksums, tso)

    def _conf(self, info: PortInfo, setup: Setup, started: Started) -> ctypes.Array[ctypes.c_char]:
        """struct rte_eth_conf. Only what is needed is asked for: some drivers' fastest paths know no offloads."""
        at, conf = self._layout.eth_conf, ctypes.create_string_buffer(self._layout.eth_conf.size)
        rx = tx = 0
        if started.queues > 1:
            ctypes.c_uint32.from_buffer(conf, at.rxmode_mq_mode).value = dpdk.ETH_MQ_RX_RSS
            ctypes.c_uint64.from_buffer(conf, at.rss_hf).value = dpdk.ETH_RSS_FLOWS & info.rss_flows
            rx |= dpdk.ETH_RX_OFFLOAD_RSS_HASH
        if setup.mtu > STANDARD_MTU:
            rx |= dpdk.ETH_RX_OFFLOAD_SCATTER
            tx |= dpdk.ETH_TX_OFFLOAD_MULTI_SEGS
            if setup.mtu <= info.max_mtu:
                ctypes.c_uint32.from_buffer(conf, at.rxmode_mtu).value = setup.mtu
        if started.checksums:
            tx |= dpdk.ETH_TX_OFFLOAD_CHECKSUMS
        if started.tso:
            tx |= ETH_TX_TSO
        ctypes.c_uint64.from_buffer(conf, at.rxmode_offloads).value = rx & info.rx_offload_capa
        ctypes.c_uint64.from_buffer(conf, at.txmode_offloads).value = tx & info.tx_offload_capa
        return conf

    def listen(self, port: int) -> None:
        """Promiscuous and all multicast. A VF may refuse it to one that is not trusted; its own MAC still arrives."""
        self._promiscuous(port)
        self._allmulticast(port)

    def stop(self, port: int) -> None:
        """Stops a port, or leaves it stopped; no lcore may poll it."""
        self._stop(port)

    def detach(self, port: int) -> None:
        """Stops, closes and removes; no lcore may poll the port any more. Raises DpdkError."""
        self._stop(port)
        self._close(port)
        check("rte_dev_remove", self._remove(self._devices.pop(port)))

    def info(self, port: int) -> PortInfo:
        raw, at = self._info_bytes(port), self._layout.dev_info

        def number(offset: int, size: int) -> int:
            return int.from_bytes(raw[offset : offset + size], "little")

        return PortInfo(
            driver=(ctypes.c_char_p(number(at.driver_name, 8)).value or b"").decode(),
            max_rx_queues=number(at.max_rx_queues, 2),
            max_tx_queues=number(at.max_tx_queues, 2),
            rx_offload_capa=number(at.rx_offload_capa, 8),
            tx_offload_capa=number(at.tx_offload_capa, 8),
            rss_flows=number(at.flow_type_rss_offloads, 8),
            max_mtu=longest_mtu(number(at.max_mtu, 2), number(at.max_rx_pktlen, 4)),
        )

    def _info_bytes(self, port: int) -> bytes:
        raw = ctypes.create_string_buffer(self._layout.dev_info.size)
        check("rte_eth_dev_info_get", self._info(port, raw))
        return raw.raw

    def link_up(self, port: int) -> bool:
        link = ctypes.c_uint64()
        return self._link(port, ctypes.byref(link)) == 0 and bool(link.value & _LINK_STATUS_BIT)

    def stats(self, port: int) -> PortStats:
        """What the NIC counted itself since it was started, in packets. Raises DpdkError."""
        at = self._layout.eth_stats
        raw = ctypes.create_string_buffer(at.size)
        check("rte_eth_stats_get", self._stats(port, raw))
        offsets = (at.imissed, at.ierrors, at.oerrors, at.rx_nombuf)
        return PortStats(*(int.from_bytes(raw.raw[offset : offset + 8], "little") for offset in offsets))

    def mtu(self, port: int) -> int:
        """In bytes, as DPDK counts it: without the Ethernet header; 0 for a port that is not there."""
        found = ctypes.c_uint16()
        return found.value if self._mtu(port, ctypes.byref(found)) == 0 else 0

    def promiscuous(self, port: int) -> bool:
        """Whether it hears frames for every address; a VF that is not trusted may have been refused it."""
        return bool(self._is_promiscuous(port) == 1)

    def mac(self, port: int) -> str:
        """Zeros for a port that is not there."""
        raw = ctypes.create_string_buffer(6)
        self._mac(port, raw)
        return raw.raw.hex(":")

    def numa_node(self, port: int) -> int:
        """The NUMA node that the device sits on, -1 where it has none."""
        node: int = self._numa(port)
        return node


def longest_mtu(max_mtu: int, max_rx_pktlen: int) -> int:
    """The largest MTU that rte_eth_dev_configure takes, which goes by the frame's length too (eth_dev_validate_mtu):
    af_packet names no MTU, and frames of 1518 bytes, though it receives whatever fits its own."""
    known = max_mtu != 0xFFFF and max_rx_pktlen > max_mtu
    overhead = max_rx_pktlen - max_mtu if known else dpdk.ETHER_OVERHEAD_BYTES
    return min(max_mtu, max_rx_pktlen - overhead)
