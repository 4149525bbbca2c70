"""A real guest that leaves the cutting of its TCP frames to a relay whose VF cuts none: over IPv4 and IPv6."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit import cleanup
from tests.kit.network.pcap import read
from tests.kit.waiting import wait_for
from tests.qemu.qemu_topology import RELAY, QemuTopology, qemu_topology

HOST_TSO4, HOST_TSO6, GUEST_TSO4 = 1 << 11, 1 << 12, 1 << 7
"""Feature bits of linux/virtio_net.h."""
NETWORK_6, GUEST_6 = "fd77::1", "fd77::2"
FRAME_BYTES = 1514


@pytest.fixture(scope="module")
def at() -> Iterator[QemuTopology]:
    with qemu_topology(serves=False, csum=True, mrgbuf=True, tso=True) as found:
        inner = found.made.wires[RELAY].inner
        found.made.namespace.run(["sh", "-c", f"echo 0 > /proc/sys/net/ipv6/conf/{inner}/disable_ipv6"])
        found.made.namespace.run(["ip", "address", "add", f"{NETWORK_6}/64", "dev", inner, "nodad"])
        found.boot(talks=True, first=f"ip address add {GUEST_6}/64 dev eth0 nodad")
        yield found


@contextlib.contextmanager
def captured(at: QemuTopology, path: Path) -> Iterator[None]:
    """What the guest hands over meanwhile, its first bytes, goes to a file."""
    words = ("capture", str(RELAY), "--direction", "vm-to-vf", "--snaplen", "64", "-w", str(path))
    instance = at.made.instance
    process = subprocess.Popen(instance.command(*words), env=instance.environment, stderr=subprocess.DEVNULL)
    cleanup.register(process, process.kill)
    wait_for("the capture to be on", lambda: instance.client.observe().live.captures, 30.0)
    yield
    process.send_signal(signal.SIGINT)
    process.wait(60)
    cleanup.release(process)


@pytest.mark.parametrize("address", ["", GUEST_6], ids=["IPv4", "IPv6"])
def test_tcp_flows_both_ways_and_every_segment_s_checksum_is_right(
    address: str, at: QemuTopology, tmp_path: Path
) -> None:
    assert at.features & (HOST_TSO4 | HOST_TSO6 | GUEST_TSO4) == HOST_TSO4 | HOST_TSO6
    wrong, before = at.wrong_checksums(), at.made.counters(RELAY)["vm_to_vf"]
    assert at.tcp(address=address) > 0
    with captured(at, tmp_path / "from-guest"):
        carried = at.tcp("-R", address=address)
    assert carried > 0
    assert at.wrong_checksums() == wrong
    after = at.made.counters(RELAY)["vm_to_vf"]
    lengths = [packet.length for packet in read(tmp_path / "from-guest")]
    sent = after["tx_packets"] - before["tx_packets"]
    print(f"longest frame of the guest {max(lengths)} bytes; {sent} packets sent for {carried} bytes")
    assert max(lengths) > FRAME_BYTES, "the guest cut its frames itself"
    assert sent > carried // FRAME_BYTES
    assert after["vf_unfit_packets"] == 0
