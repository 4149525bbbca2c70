"""Real guests that are other than usual: long frames in packed rings, and a driver from before VirtIO 1.0."""

from __future__ import annotations

from tests.qemu.qemu_topology import QemuTopology, qemu_topology

MRG_RXBUF, VERSION_1, RING_PACKED = 1 << 15, 1 << 32, 1 << 34
"""Feature bits of linux/virtio_net.h and linux/virtio_config.h."""
JUMBO = 9000
IP_AND_ICMP_BYTES = 28


def answers_unfragmented(at: QemuTopology, mtu: int, count: int = 10) -> int:
    """How many echoes of packets as long as the MTU came back; none may be cut on its way."""
    size = str(mtu - IP_AND_ICMP_BYTES)
    line = ["ping", "-n", "-q", "-M", "do", "-s", size, "-i", "0.2", "-c", str(count), "-w", "60", at.address]
    said = at.made.namespace.run(line, check=False, timeout_s=90).stdout
    return int(said.split(" received")[0].rpartition(" ")[2])


def test_9000_bytes_pass_both_ways_through_packed_rings() -> None:
    with qemu_topology(serves=False, mtu=JUMBO, packed=True, jumbo=True, mrgbuf=True) as at:
        at.boot(talks=True, first=f"ip link set eth0 mtu {JUMBO}", features=["packed=on"])
        assert at.features & (RING_PACKED | MRG_RXBUF | VERSION_1) == RING_PACKED | MRG_RXBUF | VERSION_1
        assert answers_unfragmented(at, JUMBO) == 10
        assert at.tcp() > 0
        assert at.tcp("-R") > 0


def test_a_legacy_driver_is_served() -> None:
    with qemu_topology(serves=False) as at:
        at.boot(talks=True, features=["disable-modern=on", "disable-legacy=off"])
        assert at.features & VERSION_1 == 0
        assert at.answers().duplicates == 0
        assert at.tcp() > 0
        assert at.tcp("-R") > 0
