"""Widths, offsets and symbols of DPDK's structs, per release: the one place that knows them.

Read from the headers of each release; `tests/engine/dpdk/test_layouts.py` compares every number with what the C
compiler says of the installed headers. A release that is not listed here is refused by name.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_ETHPORTS = 32
"""RTE_MAX_ETHPORTS of every distribution's build."""
MAX_LCORE = 128
PKTMBUF_HEADROOM = 128
ETHER_OVERHEAD_BYTES = 18
"""Ethernet header and FCS, as rte_ethdev counts them between MTU and frame length."""

# rte_mbuf_core.h, rte_ethdev.h: flags
MBUF_F_RX_RSS_HASH = 1 << 1
MBUF_F_EXTERNAL = 1 << 61
MBUF_F_INDIRECT = 1 << 62
MBUF_F_TX_L4_MASK = 3 << 52
MBUF_F_TX_TCP_CKSUM = 1 << 52
MBUF_F_TX_UDP_CKSUM = 3 << 52
MBUF_F_TX_TCP_SEG = 1 << 50
MBUF_F_TX_IP_CKSUM = 1 << 54
MBUF_F_TX_IPV4 = 1 << 55
MBUF_F_TX_IPV6 = 1 << 56
ETH_MQ_RX_RSS = 1
ETH_RSS_FLOWS = 0x3BFFC
"""Every IP, TCP, UDP and SCTP flow type that RTE_ETH_RSS_IP, _TCP, _UDP and _SCTP name."""
ETH_RX_OFFLOAD_RSS_HASH = 1 << 19
ETH_RX_OFFLOAD_SCATTER = 1 << 13
ETH_TX_OFFLOAD_CHECKSUMS = 0b1110
"""IPV4, UDP and TCP."""
ETH_TX_OFFLOAD_L4 = 0b1100
"""UDP and TCP."""
ETH_TX_OFFLOAD_TCP_TSO = 1 << 5
ETH_TX_OFFLOAD_MULTI_SEGS = 1 << 15

# rte_vhost.h
VHOST_USER_CLIENT = 1 << 0

# linux/virtio_net.h, linux/virtio_config.h, linux/vhost.h: feature bits
VIRTIO_NET_F_CSUM = 0
VIRTIO_NET_F_GUEST_CSUM = 1
VIRTIO_NET_F_GUEST_TSO4 = 7
VIRTIO_NET_F_GUEST_TSO6 = 8
VIRTIO_NET_F_GUEST_ECN = 9
VIRTIO_NET_F_GUEST_UFO = 10
VIRTIO_NET_F_HOST_TSO4 = 11
VIRTIO_NET_F_HOST_TSO6 = 12
VIRTIO_NET_F_HOST_ECN = 13
VIRTIO_NET_F_HOST_UFO = 14
VIRTIO_NET_F_MRG_RXBUF = 15
VIRTIO_NET_F_MQ = 22
VHOST_F_LOG_ALL = 26
VIRTIO_RING_F_EVENT_IDX = 29
VIRTIO_F_RING_PACKED = 34


class UnknownReleaseError(RuntimeError):
    """The installed DPDK is of a release whose layouts were never read."""


@dataclass(frozen=True, slots=True)
class FpOps:
    """struct rte_eth_fp_ops, one per port in the exported array rte_eth_fp_ops."""

    size: int = 128
    rx_pkt_burst: int = 0
    tx_pkt_burst: int = 64
    tx_pkt_prepare: int = 72
    rxq_data: int = 24
    txq_data: int = 88


@dataclass(frozen=True, slots=True)
class Mbuf:
    """struct rte_mbuf."""

    size: int = 128
    buf_addr: int = 0
    data_off: int = 16
    refcnt: int = 18
    nb_segs: int = 20
    port: int = 22
    ol_flags: int = 24
    packet_type: int = 32
    pkt_len: int = 36
    data_len: int = 40
    hash: int = 44
    buf_len: int = 54
    pool: int = 56
    next: int = 64
    tx_offload: int = 72


@dataclass(frozen=True, slots=True)
class Mempool:
    """struct rte_mempool."""

    local_cache: int = 96


@dataclass(frozen=True, slots=True)
class MempoolCache:
    """struct rte_mempool_cache, an lcore's part of `local_cache`."""

    size: int = 8256
    flushthresh: int = 4
    len: int = 8
    objs: int = 64


@dataclass(frozen=True, slots=True)
class EthConf:
    """struct rte_eth_conf."""

    size: int = 2272
    link_speeds: int = 0
    rxmode_mq_mode: int = 8
    rxmode_mtu: int = 12
    rxmode_offloads: int = 24
    txmode_offloads: int = 72
    rss_hf: int = 144


@dataclass(frozen=True, slots=True)
class DevInfo:
    """struct rte_eth_dev_info."""

    size: int = 376
    device: int = 0
    driver_name: int = 8
    min_mtu: int = 20
    max_mtu: int = 22
    max_rx_pktlen: int = 36
    max_rx_queues: int = 44
    max_tx_queues: int = 46
    rx_offload_capa: int = 72
    tx_offload_capa: int = 80
    flow_type_rss_offloads: int = 112


@dataclass(frozen=True, slots=True)
class EthStats:
    """struct rte_eth_stats."""

    size: int = 704
    imissed: int = 32
    ierrors: int = 40
    oerrors: int = 48
    rx_nombuf: int = 56


@dataclass(frozen=True, slots=True)
class VhostOps:
    """struct rte_vhost_device_ops (struct vhost_device_ops before 22.11)."""

    size: int = 64
    new_device: int = 0
    destroy_device: int = 8
    vring_state_changed: int = 16
    features_changed: int = 24
    new_connection: int = 32
    destroy_connection: int = 40


@dataclass(frozen=True, slots=True)
class Vring:
    """struct rte_vhost_vring: where a queue of the guest lies in our memory."""

    size: int = 48
    desc: int = 0
    avail: int = 8
    used: int = 16
    entries: int = 40


@dataclass(frozen=True, slots=True)
class VhostRegion:
    """struct rte_vhost_mem_region: a piece of a guest's memory. They follow a count in struct rte_vhost_memory."""

    size: int = 56
    mmap_addr: int = 32
    mmap_size: int = 40


@dataclass(frozen=True, slots=True)
class VhostMessage:
    """struct vhu_msg_context of lib/vhost/vhost_user.h, the same in 22.11 and 24.11: what an external message handler
    is given. That header is not installed; it says of itself that it "can't be changed carelessly" for their sake.
    """

    request: int = 0
    flags: int = 4
    size: int = 8
    payload: int = 12
    fds: int = 644
    fd_count: int = 676


RTE_VHOST_MESSAGE = VhostMessage()


@dataclass(frozen=True, slots=True)
class BondInfo:
    """struct rte_eth_bond_8023ad_slave_info (from 23.11 on ..._member_info)."""

    size: int = 40
    actor_state: int = 4


@dataclass(frozen=True, slots=True)
class Layout:
    release: str
    """Year and month: the ABI is kept within."""
    abi: str
    """The suffix of the shared objects: librte_eal.so.<abi>."""
    fp_ops: FpOps = FpOps()
    mbuf: Mbuf = Mbuf()
    mempool: Mempool = Mempool()
    mempool_cache: MempoolCache = MempoolCache()
    eth_conf: EthConf = EthConf()
    dev_info: DevInfo = DevInfo()
    eth_stats: EthStats = EthStats()
    vhost_ops: VhostOps = VhostOps()
    vring: Vring = Vring()
    vhost_region: VhostRegion = VhostRegion()
    bond_info: BondInfo = BondInfo()


LAYOUTS: tuple[Layout, ...] = (
    Layout("22.11", "23"),
    Layout(
        "24.11",
        "25",
        fp_ops=FpOps(rx_pkt_burst=16, tx_pkt_burst=80, tx_pkt_prepare=88, rxq_data=0, txq_data=64),
        eth_conf=EthConf(size=2280),
        dev_info=DevInfo(max_rx_pktlen=40, max_rx_queues=48, max_tx_queues=50),
    ),
)


def for_version(version: str) -> Layout:
    """The layout for what `rte_version()` says, for example `DPDK 22.11.11`. Raises UnknownReleaseError."""
    number = version.removeprefix("DPDK ").split("-")[0]
    for layout in LAYOUTS:
        if number == layout.release or number.startswith(layout.release + "."):
            return layout
    known = ", ".join(layout.release for layout in LAYOUTS)
    raise UnknownReleaseError(
        f"DPDK {number} is installed, and vio4wd knows the struct layouts of {known}: install one of them"
    )
