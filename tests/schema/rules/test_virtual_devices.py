"""Which of DPDK's virtual devices a spec may name, and with which arguments."""

from __future__ import annotations

import pytest

from schema.model import Port
from schema.rules.virtual_devices import KINDS, TABLE, is_interface_name, paths, refusal
from schema.vf import parse_vf

MEMIF = "net_memif0,role=server,socket-abstract=no,socket=/run/m.sock"


@pytest.mark.parametrize(
    "text",
    [
        "net_af_packet0,iface=veth1",
        "net_af_packet12,iface=eth0.100,qpairs=2,blocksz=65536,framesz=16384,framecnt=512,qdisc_bypass=1",
        "net_tap0",
        "net_tap1,iface=tap_1,mac=fixed",
        "net_tap1,mac=02:00:00:00:00:0a",
        "net_null0",
        "net_null1,size=1518,copy=1,no-rx=1",
        "net_ring7",
        MEMIF,
        f"{MEMIF},id=3,bsize=2048,rsize=10,mac=02:00:00:00:00:01,secret=abc",
    ],
)
def test_is_allowed(text: str) -> None:
    assert refusal(parse_vf(text), {}) == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("net_failsafe0,exec(id>/tmp/x)", "net_failsafe is no driver that a spec may name"),
        ("net_failsafe0,dev(net_tap0),fd(3)", "net_failsafe is no driver"),
        ("net_pcap0,tx_pcap=/etc/passwd", "net_pcap is no driver"),
        ("net_softnic0,firmware=/tmp/x.cli", "net_softnic is no driver"),
        ("net_virtio_user0,path=/dev/vhost-net", "net_virtio_user is no driver"),
        ("net_vhost0,iface=/tmp/x", "net_vhost is no driver"),
        ("net_vdev_netvsc0,iface=eth0", "net_vdev_netvsc is no driver"),
        ("net_nullx0", "net_nullx is no driver"),  # DPDK would take net_null for it
        ("net_null0,exec(id)", "no argument 'exec(id)'"),
        ("net_null0,size=64,exec(id)", "no argument 'exec(id)'"),
        ("net_null0,driver=net_failsafe", "no argument 'driver'"),
        ("net_null0,size=60000", "a number from 60 to 2048, not '60000'"),
        ("net_null0,size=-1", "a number from 60 to 2048"),
        ("net_null0,size=0x40", "a number from 60 to 2048"),
        ("net_null0,size=64,size=65", "stands twice"),
        ("net_null0,size", "must be a number"),
        ("net_null0,no-rx=yes", "must be 0 or 1, not 'yes'"),
        ("net_null0,size=64,", "no argument ''"),
        ("net_ring0,nodeaction=R:0:ATTACH", "it takes none"),
        ("net_ring0,internal=0x7f0000000000", "it takes none"),
        ("net_tap0,remote=eth0", "no argument 'remote'"),
        ("net_tap0,iface=tap%d", "the name of a network interface"),
        ("net_tap0,iface=../x", "the name of a network interface"),
        ("net_tap0,iface=a234567890123456", "the name of a network interface"),
        ("net_tap0,mac=02:00:00:00:00", "fixed, or a MAC address"),
        ("net_af_packet0,iface=", "the name of a network interface"),
        ("net_af_packet0,iface=[a", "the name of a network interface"),
        ("net_af_packet0,iface=eth0,framecnt=999999999", "a number from 1 to 32768"),
        ("net_af_packet0,iface=eth0,qdisc_bypass=0", "qdisc_bypass must be 1, not '0'"),
        ("net_memif0", "needs the argument role, which must be server"),
        ("net_memif0,role=client,socket=/run/m.sock,socket-abstract=no", "role must be server, not 'client'"),
        ("net_memif0,role=server,socket=/run/m.sock", "needs the argument socket-abstract"),
        ("net_memif0,role=server,socket=m.sock,socket-abstract=no", "an absolute path"),
        ("net_memif0,role=server,socket=/run/../etc/m,socket-abstract=no", "an absolute path"),
        (f"{MEMIF},zero-copy=yes", "no argument 'zero-copy'"),
        (f"{MEMIF},owner-uid=1000", "no argument 'owner-uid'"),
    ],
)
def test_is_refused(text: str, said: str) -> None:
    assert said in refusal(parse_vf(text), {})


def test_a_policy_adds_drivers_and_arguments() -> None:
    beyond = {"net_pcap": {"tx_pcap": KINDS["path"]}, "net_tap": {"remote": KINDS["interface"]}}
    assert refusal(parse_vf("net_pcap0,tx_pcap=/tmp/out.pcap"), beyond) == ""
    assert list(paths(parse_vf("net_pcap0,tx_pcap=/tmp/out.pcap"), beyond)) == ["/tmp/out.pcap"]
    assert refusal(parse_vf("net_tap0,iface=t0,remote=eth0"), beyond) == ""
    assert "no argument 'rx_pcap'" in refusal(parse_vf("net_pcap0,rx_pcap=/tmp/x"), beyond)
    assert "an absolute path" in refusal(parse_vf("net_pcap0,tx_pcap=x"), beyond)


def test_no_kind_of_value_ends_an_argument() -> None:
    for value in (*KINDS.values(), *(value for keys in TABLE.values() for value in keys.values())):
        for text in ("a,b", "a=b", "a b", "[a]", "(a)", "exec(a)", "a\0", "a\n", "", "é", "\u202ea", "/a/../b", "%s"):
            assert not value.holds(text), (value.words, text)


@pytest.mark.parametrize(
    ("name", "valid"),
    [("eth0", True), ("br-ex.100", True), ("a" * 15, True), ("a" * 16, False), (".", False), ("..", False)]
    + [(f"a{mark}b", False) for mark in "/: %\t\0é"],
)
def test_names_of_interfaces(name: str, valid: bool) -> None:
    assert is_interface_name(name) == valid


def test_a_member_of_a_bond_is_a_device_like_any_other() -> None:
    assert refusal(Port("net_failsafe0", "exec(id)"), {})
