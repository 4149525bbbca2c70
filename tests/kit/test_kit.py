"""The kit itself: what it reads and judges, and one frame's way through a wire."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.kit import cleanup
from tests.kit.guests.guest import TestpmdGuest
from tests.kit.guests.testpmd import Cpus, Testpmd, parse_port_stats
from tests.kit.network.netns import Namespace, PingReport, VethWire, parse_ping
from tests.kit.network.numbered_frames import ETHERTYPE, SequencedFlow, frame, judge, number_of
from tests.kit.system import host
from tests.kit.waiting import wait_for

PING = """--- 10.0.0.1 ping statistics ---
100 packets transmitted, 98 received, +1 duplicates, 2% packet loss, time 1ms
"""


def test_ping_is_read() -> None:
    report = parse_ping(PING)
    assert (report.sent, report.received, report.duplicates, report.lost) == (100, 98, 1, 2)


def test_ping_without_summary_is_an_error() -> None:
    with pytest.raises(ValueError, match="no summary"):
        parse_ping("ping: connect: Network is unreachable")


@pytest.mark.parametrize(
    ("sent", "seen", "lost", "duplicated", "reordered"),
    [
        (3, [0, 1, 2], 0, 0, 0),
        (3, [0, 2], 1, 0, 0),
        (3, [0, 2, 1], 0, 0, 1),
        (3, [0, 0, 1, 2], 0, 1, 0),
        (4, [3, 0, 1, 2], 0, 0, 3),
        (3, [], 3, 0, 0),
        (3, [0, 1, 0], 1, 1, 0),
    ],
)
def test_a_sequence_is_judged(sent: int, seen: list[int], lost: int, duplicated: int, reordered: int) -> None:
    report = judge(sent, seen)
    assert (report.lost, report.duplicated, report.reordered) == (lost, duplicated, reordered)
    assert report.clean == (not lost and not duplicated and not reordered)


def test_nothing_sent_is_not_clean() -> None:
    assert not judge(0, []).clean


def test_frames_carry_their_number() -> None:
    data = frame(7, 64, b"\x02\0\0\0\0\1", b"\x02\0\0\0\0\2")
    assert len(data) == 64
    assert number_of(data) == 7
    assert number_of(data[:12] + b"\x08\x00" + data[14:]) is None
    assert number_of(b"short") is None


def test_port_stats_are_read() -> None:
    text = """
  RX-packets: 12         RX-missed: 1          RX-bytes:  768
  RX-errors: 2
  RX-nombuf:  3
  TX-packets: 4          TX-errors: 5          TX-bytes:  256

  Throughput (since last show)
  Rx-pps:         1000          Rx-bps:       512000
  Tx-pps:          999          Tx-bps:       511488
"""
    stats = parse_port_stats(text)
    assert (stats.rx_packets, stats.rx_missed, stats.rx_nombuf, stats.tx_errors) == (12, 1, 3, 5)
    assert (stats.rx_pps, stats.tx_pps) == (1000, 999)


def test_leftovers_name_what_is_new(tmp_path: Path) -> None:
    before = host.Leftovers(*(frozenset[str]() for _ in range(5)))
    after = host.Leftovers(frozenset(), frozenset({f"{tmp_path}/s"}), frozenset(), frozenset({"n"}), frozenset())
    assert after.since(before) == [f"sockets: {tmp_path}/s", "namespaces: n"]
    assert after.naming(str(tmp_path)).since(before) == [f"sockets: {tmp_path}/s"]


def test_a_missing_program_is_named() -> None:
    assert host.missing("no-such-program") == "the program no-such-program"


@pytest.mark.needs("root", "netns")
def test_a_wire_has_one_end_here_and_one_there_and_goes() -> None:
    with (
        Namespace() as namespace,
        VethWire(namespace, "10.77.1.1/24") as wire,
        namespace.packet_socket(wire.inner, ETHERTYPE) as out,
    ):
        assert out.send(frame(0, 64, b"\xff" * 6, b"\x02\0\0\0\0\1")) == 64
        assert Path("/sys/class/net", wire.vf).exists()
        assert not Path("/sys/class/net", wire.inner).exists()
    assert not Path("/sys/class/net", wire.vf).exists()
    assert not Path("/var/run/netns", namespace.name).exists()


@pytest.mark.needs("root", "netns")
def test_pings_are_counted_one_by_one() -> None:
    with Namespace() as namespace:
        assert namespace.ping("127.0.0.1", 20, 0.001) == PingReport(20, 20, 0)
        assert namespace.ping("10.77.9.9", 2, 0.001) == PingReport(2, 0, 0)


@pytest.mark.needs("root", "netns", "dpdk-testpmd")
def test_a_guest_behind_testpmd_answers_and_keeps_order() -> None:
    """testpmd's own relay stands where vio4wd will: the kit is sound before anything is judged with it."""
    directory = cleanup.short_directory()
    socket = directory / "s"
    cpus = Cpus(0, (max(os.sched_getaffinity(0)),))
    try:
        with Namespace() as namespace, VethWire(namespace, "10.77.3.1/24") as wire:
            vdevs = [f"net_vhost0,iface={socket}", wire.vf_device]
            with Testpmd(vdevs, "io", cpus) as relay, TestpmdGuest([socket], "icmpecho") as guest:
                relay.start()
                guest.start()
                assert namespace.ping("10.77.3.2", count=20, interval_s=0.05).received > 0
                guest.stop()
                guest.set_mode("io")
                guest.start()
                with SequencedFlow(wire, rate_pps=2000) as flow:
                    wait_for("500 frames to be sent", lambda: flow.sent >= 500)
                    report = flow.finish()
                # A busy machine starves the relay until its ring overflows: what is lost then is not the kit's doing.
                assert (report.duplicated, report.reordered) == (0, 0), report
                assert report.received > 0
                guest.kill()
                assert not guest.alive
                assert relay.alive
    finally:
        socket.unlink(missing_ok=True)
        directory.rmdir()
    assert guest.terminal.process.returncode == -signal.SIGKILL
