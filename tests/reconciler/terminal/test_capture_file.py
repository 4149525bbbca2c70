"""What `vio4wd capture` makes of packets: files that others can read, and lines for people."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.api.capture_reader import Captured
from reconciler.terminal.packet import summary
from reconciler.terminal.pcapng import PcapWriter
from tests.kit.network.pcap import blocks, read

BOTH = ("vf-to-vm", "vm-to-vf")
PACKETS = st.builds(
    lambda time_ns, direction, packet, cut: Captured(time_ns, direction, len(packet) + cut, packet),
    st.integers(0, 2**62),
    st.sampled_from(BOTH),
    st.binary(max_size=200),
    st.integers(0, 3000),
)


def written(packets: list[Captured], missed: dict[str, int] | None = None) -> bytes:
    out = io.BytesIO()
    writer = PcapWriter(out, 7, BOTH, 262_144)
    for packet in packets:
        writer.write(packet)
    if missed is not None:
        writer.finish(missed)
    return out.getvalue()


@given(packets=st.lists(PACKETS, max_size=12), finished=st.booleans())
def test_libpcap_reads_what_was_written(packets: list[Captured], finished: bool) -> None:
    assert read(written(packets, {"vf-to-vm": 1} if finished else None)) == packets


def test_the_file_says_how_many_were_missed() -> None:
    whole = written([Captured(5, "vf-to-vm", 60, bytes(60))], {"vf-to-vm": 3})
    statistics = [body for kind, body in blocks(whole) if kind == 5]
    came_and_missed = [struct.unpack_from("<12xHHQHHQ", body)[2::3] for body in statistics]
    assert came_and_missed == [(4, 3), (0, 0)]


def test_one_direction_alone_is_one_interface() -> None:
    out = io.BytesIO()
    PcapWriter(out, 7, ("vm-to-vf",), 64).write(Captured(1, "vm-to-vf", 60, bytes(60)))
    kinds = [kind for kind, _ in blocks(out.getvalue())]
    assert kinds == [0x0A0D0D0A, 1, 6]
    assert b"relay 7 vm-to-vf" in out.getvalue()


MACS = bytes.fromhex("020000000002 020000000001")
SAID = "02:00:00:00:00:01 > 02:00:00:00:00:02 "
IP4 = "45000054000040004001 0000 0a4d0101 0a4d0102"
IP6 = "6000000000083aff fe800000000000000000000000000001 ff020000000000000000000000000001"
LINES = {
    f"0800 {IP4} 0800": "IPv4 10.77.1.1 > 10.77.1.2 ICMP echo request",
    f"0800 {IP4}": "IPv4 10.77.1.1 > 10.77.1.2 ICMP",
    f"0800 {IP4.replace('4001', '4006')} 04d2 0050 00000001 00000002 5012": (
        "IPv4 10.77.1.1:1234 > 10.77.1.2:80 TCP [SA] seq 1 ack 2"
    ),
    f"0800 {IP4.replace('4001', '4011')} 04d2 0035": "IPv4 10.77.1.1:1234 > 10.77.1.2:53 UDP",
    f"0800 {IP4.replace('4000', '20b9')} 04d2": "IPv4 10.77.1.1 > 10.77.1.2 ICMP fragment at 1480",
    f"0800 {IP4.replace('4001', '4084')} 04d2": "IPv4 10.77.1.1 > 10.77.1.2 SCTP",
    "0800 4500": "IPv4, cut or broken",
    f"86dd {IP6} 87": "IPv6 fe80::1 > ff02::1 ICMPv6 neighbour solicitation",
    f"86dd {IP6.replace('3aff', '11ff')} 0222 0223": "IPv6 [fe80::1]:546 > [ff02::1]:547 UDP",
    f"86dd {IP6.replace('3aff', '00ff')} 3a00000000000000 8f": (
        "IPv6 fe80::1 > ff02::1 ICMPv6 multicast listener report"
    ),
    "0806 0001080006040001 020000000001 0a4d0101 000000000000 0a4d0102": "ARP who has 10.77.1.2, tell 10.77.1.1",
    "0806 0001080006040002 020000000001 0a4d0101 020000000002 0a4d0102": "ARP 10.77.1.1 is at 02:00:00:00:00:01",
    "0806": "ARP, cut or broken",
    "8100 0064 0800 4500": "VLAN 100 IPv4, cut or broken",
    "88a8 00c8 8100 0064 88cc": "VLAN 200 VLAN 100 LLDP",
    "8100": "ethertype 0x8100",
    "0100": "802.3, 256 bytes",
    "9999 00": "ethertype 0x9999",
}


@pytest.mark.parametrize("packet", LINES)
def test_a_packet_in_words(packet: str) -> None:
    assert summary(MACS + bytes.fromhex(packet)) == SAID + LINES[packet]


@given(st.one_of(st.binary(max_size=80), st.sampled_from(sorted(LINES)).map(lambda each: MACS + bytes.fromhex(each))))
def test_whatever_a_guest_sends_has_a_line(packet: bytes) -> None:
    for cut in range(len(packet) + 1):
        assert "\n" not in summary(packet[:cut])
