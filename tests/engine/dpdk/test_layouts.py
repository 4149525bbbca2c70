"""Every number of engine/dpdk/layout.py against the C compiler and the installed headers."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from engine.dpdk import layout

STRUCTS: Mapping[str, str] = {
    "fp_ops": "struct rte_eth_fp_ops",
    "mbuf": "struct rte_mbuf",
    "mempool": "struct rte_mempool",
    "mempool_cache": "struct rte_mempool_cache",
    "eth_conf": "struct rte_eth_conf",
    "dev_info": "struct rte_eth_dev_info",
    "eth_stats": "struct rte_eth_stats",
    "vhost_ops": "struct rte_vhost_device_ops",
    "vring": "struct rte_vhost_vring",
    "vhost_region": "struct rte_vhost_mem_region",
    "bond_info": "struct rte_eth_bond_8023ad_slave_info",
}
MEMBERS: Mapping[str, str] = {
    "fp_ops.rxq_data": "rxq.data",
    "fp_ops.txq_data": "txq.data",
    "eth_conf.rxmode_mq_mode": "rxmode.mq_mode",
    "eth_conf.rxmode_mtu": "rxmode.mtu",
    "eth_conf.rxmode_offloads": "rxmode.offloads",
    "eth_conf.txmode_offloads": "txmode.offloads",
    "eth_conf.rss_hf": "rx_adv_conf.rss_conf.rss_hf",
    "vring.entries": "size",
}
"""Members that C nests; the others have the field's name."""
CONSTANTS: Mapping[str, str] = {
    "ETHER_OVERHEAD_BYTES": "RTE_ETHER_HDR_LEN + RTE_ETHER_CRC_LEN",
    "ETH_MQ_RX_RSS": "RTE_ETH_MQ_RX_RSS",
    "ETH_RSS_FLOWS": "RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP | RTE_ETH_RSS_SCTP",
    "ETH_RX_OFFLOAD_RSS_HASH": "RTE_ETH_RX_OFFLOAD_RSS_HASH",
    "ETH_RX_OFFLOAD_SCATTER": "RTE_ETH_RX_OFFLOAD_SCATTER",
    "ETH_TX_OFFLOAD_CHECKSUMS": " | ".join(f"RTE_ETH_TX_OFFLOAD_{layer}_CKSUM" for layer in ("IPV4", "UDP", "TCP")),
    "ETH_TX_OFFLOAD_L4": "RTE_ETH_TX_OFFLOAD_UDP_CKSUM | RTE_ETH_TX_OFFLOAD_TCP_CKSUM",
    "ETH_TX_OFFLOAD_TCP_TSO": "RTE_ETH_TX_OFFLOAD_TCP_TSO",
    "ETH_TX_OFFLOAD_MULTI_SEGS": "RTE_ETH_TX_OFFLOAD_MULTI_SEGS",
    "MBUF_F_EXTERNAL": "RTE_MBUF_F_EXTERNAL",
    "MBUF_F_INDIRECT": "RTE_MBUF_F_INDIRECT",
    "MBUF_F_RX_RSS_HASH": "RTE_MBUF_F_RX_RSS_HASH",
    "MBUF_F_TX_L4_MASK": "RTE_MBUF_F_TX_L4_MASK",
    "MBUF_F_TX_TCP_CKSUM": "RTE_MBUF_F_TX_TCP_CKSUM",
    "MBUF_F_TX_UDP_CKSUM": "RTE_MBUF_F_TX_UDP_CKSUM",
    "MBUF_F_TX_TCP_SEG": "RTE_MBUF_F_TX_TCP_SEG",
    "MBUF_F_TX_IP_CKSUM": "RTE_MBUF_F_TX_IP_CKSUM",
    "MBUF_F_TX_IPV4": "RTE_MBUF_F_TX_IPV4",
    "MBUF_F_TX_IPV6": "RTE_MBUF_F_TX_IPV6",
    "MAX_ETHPORTS": "RTE_MAX_ETHPORTS",
    "MAX_LCORE": "RTE_MAX_LCORE",
    "PKTMBUF_HEADROOM": "RTE_PKTMBUF_HEADROOM",
    "VHOST_USER_CLIENT": "RTE_VHOST_USER_CLIENT",
}
"""Constants that C names otherwise; the others have the same name there."""
HEADERS = (
    "stddef.h",
    "stdio.h",
    "linux/vhost.h",
    "linux/virtio_config.h",
    "linux/virtio_net.h",
    "rte_config.h",
    "rte_eth_bond_8023ad.h",
    "rte_ethdev.h",
    "rte_ether.h",
    "rte_mbuf.h",
    "rte_mempool.h",
    "rte_version.h",
    "rte_vhost.h",
)
READ_FROM_24_11: Mapping[str, Mapping[str, int]] = {
    # Read from the 24.11 headers by the C compiler; no 24.11 was run.
    "fp_ops": {
        "size": 128,
        "rxq_data": 0,
        "rx_pkt_burst": 16,
        "rx_queue_count": 24,
        "rx_descriptor_status": 32,
        "txq_data": 64,
        "tx_pkt_burst": 80,
        "tx_pkt_prepare": 88,
        "tx_descriptor_status": 96,
    },
    "mbuf": {
        "size": 128,
        "buf_addr": 0,
        "buf_iova": 8,
        "data_off": 16,
        "refcnt": 18,
        "nb_segs": 20,
        "port": 22,
        "ol_flags": 24,
        "packet_type": 32,
        "pkt_len": 36,
        "data_len": 40,
        "vlan_tci": 42,
        "hash": 44,
        "buf_len": 54,
        "pool": 56,
        "next": 64,
        "tx_offload": 72,
    },
    "mempool": {"local_cache": 96},
    "mempool_cache": {"size": 8256, "flushthresh": 4, "len": 8, "objs": 64},
    "eth_conf": {
        "size": 2280,
        "link_speeds": 0,
        "rxmode_mq_mode": 8,
        "rxmode_mtu": 12,
        "rxmode_offloads": 24,
        "txmode_mq_mode": 64,
        "txmode_offloads": 72,
        "rss_hf": 144,
        "tx_adv_conf": 2256,
        "dcb_capability_en": 2268,
        "intr_conf": 2272,
    },
    "dev_info": {
        "size": 376,
        "device": 0,
        "driver_name": 8,
        "if_index": 16,
        "min_mtu": 20,
        "max_mtu": 22,
        "dev_flags": 24,
        "min_rx_bufsize": 32,
        "max_rx_pktlen": 40,
        "max_rx_queues": 48,
        "max_tx_queues": 50,
        "max_mac_addrs": 52,
        "rx_offload_capa": 72,
        "tx_offload_capa": 80,
        "reta_size": 104,
        "hash_key_size": 106,
        "flow_type_rss_offloads": 112,
        "default_rxconf": 120,
        "default_txconf": 200,
        "rx_desc_lim": 262,
        "tx_desc_lim": 272,
        "speed_capa": 284,
        "dev_capa": 312,
    },
    "eth_stats": {
        "size": 704,
        "ipackets": 0,
        "opackets": 8,
        "ibytes": 16,
        "obytes": 24,
        "imissed": 32,
        "ierrors": 40,
        "oerrors": 48,
        "rx_nombuf": 56,
    },
    "vhost_ops": {
        "size": 64,
        "new_device": 0,
        "destroy_device": 8,
        "vring_state_changed": 16,
        "features_changed": 24,
        "new_connection": 32,
        "destroy_connection": 40,
        "guest_notified": 48,
    },
    "vring": {"size": 48, "desc": 0, "avail": 8, "used": 16, "callfd": 32, "kickfd": 36, "entries": 40},
    "vhost_region": {"size": 56, "mmap_addr": 32, "mmap_size": 40},
    "bond_info": {"size": 40, "actor_state": 4, "partner_state": 20, "agg_port_id": 36},
}


def numbers(table: layout.Layout) -> dict[str, int]:
    """Every number of a release's table: `mbuf.pkt_len` -> 36."""
    structs = {f.name: getattr(table, f.name) for f in dataclasses.fields(table)}
    return {
        f"{struct}.{name}": value
        for struct, fields in structs.items()
        if dataclasses.is_dataclass(fields) and not isinstance(fields, type)
        for name, value in dataclasses.asdict(fields).items()
    }


def constants() -> dict[str, int]:
    """Every constant of the module."""
    return {name: value for name, value in vars(layout).items() if name.isupper() and isinstance(value, int)}


def c_expression(name: str) -> str:
    struct, _, field = name.partition(".")
    if not field:
        return f"(long long)({CONSTANTS.get(name, name)})"
    if field == "size":
        return f"(long long)sizeof({STRUCTS[struct]})"
    return f"(long long)offsetof({STRUCTS[struct]}, {MEMBERS.get(name, field)})"


def c_program(names: list[str]) -> str:
    includes = "\n".join(f"#include <{header}>" for header in HEADERS)
    prints = "\n".join(f'    printf("{name} %lld\\n", {c_expression(name)});' for name in names)
    return f'{includes}\nint main(void) {{\n    printf("%s\\n", rte_version());\n{prints}\n    return 0;\n}}\n'


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, int]]:
    """The installed release's name and, per name, what the C compiler says."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler (cc or gcc)")
    if shutil.which("pkg-config") is None:
        pytest.skip("needs the program pkg-config")
    flags = subprocess.run(["pkg-config", "--cflags", "libdpdk"], capture_output=True, text=True, check=False)
    if flags.returncode != 0:
        pytest.skip("needs DPDK's headers (libdpdk-dev)")
    libraries = ["-lrte_eal", "-lrte_log"] if _has_log_library() else ["-lrte_eal"]
    directory = tmp_path_factory.mktemp("layout")
    names = [*constants(), *numbers(layout.LAYOUTS[0])]
    output = _compile_and_run(directory, compiler, [*flags.stdout.split()], libraries, c_program(names))
    release, *rows = output.splitlines()
    return release, {name: int(value) for name, value in (row.split() for row in rows)}


def _has_log_library() -> bool:
    """From 23.11 on, logging is a library of its own."""
    done = subprocess.run(["pkg-config", "--libs", "libdpdk"], capture_output=True, text=True, check=False)
    return "-lrte_log" in done.stdout.split()


def _compile_and_run(directory: Path, compiler: str, flags: list[str], libraries: list[str], text: str) -> str:
    source, program = directory / "layout.c", directory / "layout"
    source.write_text(text)
    built = subprocess.run(
        [compiler, *flags, "-O0", "-o", str(program), str(source), *libraries],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return subprocess.run([str(program)], capture_output=True, text=True, check=True).stdout


def test_the_installed_release_is_as_the_compiler_says(measured: tuple[str, dict[str, int]]) -> None:
    release, by_compiler = measured
    ours = constants() | numbers(layout.for_version(release))
    wrong = {name: (ours[name], by_compiler[name]) for name in by_compiler if ours[name] != by_compiler[name]}
    assert not wrong, f"{release}: (ours, the compiler's) differ: {wrong}"
    assert set(ours) == set(by_compiler)


def test_the_shared_objects_of_the_release_have_the_suffix(measured: tuple[str, dict[str, int]]) -> None:
    done = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=False)
    assert f"librte_eal.so.{layout.for_version(measured[0]).abi} " in done.stdout


@pytest.mark.parametrize("struct", STRUCTS)
def test_24_11_is_as_its_headers_say(struct: str) -> None:
    ours: dict[str, Any] = dataclasses.asdict(getattr(layout.for_version("DPDK 24.11.2"), struct))
    assert {name: READ_FROM_24_11[struct][name] for name in ours} == ours


@pytest.mark.parametrize("table", layout.LAYOUTS, ids=lambda table: table.release)
def test_every_struct_of_a_table_is_compared(table: layout.Layout) -> None:
    assert {name.partition(".")[0] for name in numbers(table)} == set(STRUCTS)


@pytest.mark.parametrize(
    ("version", "release"),
    [("DPDK 22.11.11", "22.11"), ("DPDK 22.11.0", "22.11"), ("DPDK 24.11.3-rc1", "24.11"), ("DPDK 24.11", "24.11")],
)
def test_a_known_release_is_found(version: str, release: str) -> None:
    assert layout.for_version(version).release == release


@pytest.mark.parametrize("version", ["DPDK 23.11.1", "DPDK 25.11.0", "DPDK 22.110.1", "DPDK 2.2", "", "nonsense"])
def test_an_unknown_release_is_refused_by_name(version: str) -> None:
    with pytest.raises(layout.UnknownReleaseError) as refused:
        layout.for_version(version)
    assert version.removeprefix("DPDK ") in str(refused.value)
    assert all(known.release in str(refused.value) for known in layout.LAYOUTS)
