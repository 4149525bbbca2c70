"""Captures on a live engine: what crosses is captured, nobody else notices, and no capture outlives its reader."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.api.capture_reader import Captured, CaptureReader
from engine.api.client import EngineError
from engine.dataplane.capture import LEASE_S, MAX_SNAPLEN, RING_BYTES
from tests.kit import cleanup
from tests.kit.network.numbered_frames import ETHERTYPE, frame
from tests.kit.network.pcap import read
from tests.kit.topology import Topology, topology, wait_frames
from tests.kit.waiting import wait_for

HERE, THERE = b"\x02\0\0\0\0\1", b"\x02\0\0\0\0\2"
SIZES = (60, 64, 65, 128, 594, 1280, 1514)


@pytest.fixture(scope="module")
def relayed() -> Iterator[Topology]:
    """Relay 1's guest sends back what comes; relay 2 is the neighbour; relay 3 has no guest."""
    with topology((1, 2, 3)) as made:
        made.boot(1, "io")
        made.boot(2, "io")
        yield made


def send(made: Topology, relay: int, count: int = len(SIZES)) -> list[bytes]:
    frames = [frame(number, SIZES[number % len(SIZES)], HERE, THERE) for number in range(count)]
    with made.namespace.packet_socket(made.wires[relay].inner, ETHERTYPE) as out:
        for each in frames:
            out.send(each)
    return frames


def started(made: Topology, *arguments: str) -> subprocess.Popen[bytes]:
    """`vio4wd capture ...`, once the engine copies packets for it."""
    process = subprocess.Popen(
        made.instance.command("capture", *arguments),
        env=made.instance.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    cleanup.register(process, process.kill)
    wait_for("the capture to be on", lambda: captured(made, int(arguments[0])), 30.0)
    return process


def captured(made: Topology, relay: int) -> bool:
    """Whether a relay is being captured."""
    return relay in made.instance.client.observe().live.captures


def ended(process: subprocess.Popen[bytes]) -> tuple[int, bytes, str]:
    out, said = process.communicate(timeout=60.0)
    cleanup.release(process)
    return process.returncode, out, said.decode()


def test_a_file_has_every_packet_of_both_directions_in_order(relayed: Topology, tmp_path: Path) -> None:
    path = tmp_path / "relay.pcapng"
    process = started(relayed, "1", "-w", str(path), "--count", str(2 * len(SIZES)))
    began = time.time_ns()
    frames = send(relayed, 1)
    code, out, said = ended(process)
    assert (code, out) == (0, b""), said
    assert f"{2 * len(SIZES)} packets captured, 0 missed" in said
    packets = read(path)
    for direction in ("vf-to-vm", "vm-to-vf"):
        assert [each.packet for each in packets if each.direction == direction] == frames
    stamps = [each.time_ns for each in packets]
    assert stamps == sorted(stamps)
    assert all(abs(each - began) < 600 * 10**9 for each in stamps), "the stamps are of another time"
    assert path.stat().st_mode & 0o077 == 0, "others may read what guests send"


def test_one_direction_and_the_first_bytes_alone(relayed: Topology) -> None:
    process = started(relayed, "1", "--direction", "vm-to-vf", "--snaplen", "40", "-w", "-", "--count", "3")
    frames = send(relayed, 1)
    code, out, said = ended(process)
    assert code == 0, said
    packets = read(out)
    assert [(each.direction, each.length, each.packet) for each in packets] == [
        ("vm-to-vf", len(each), each[:40]) for each in frames[:3]
    ]


def test_packets_that_are_dropped_are_captured_too(relayed: Topology) -> None:
    process = started(relayed, "3", "--count", "2")
    send(relayed, 3, 2)
    code, out, said = ended(process)
    assert code == 0, said
    lines = out.decode().splitlines()
    assert len(lines) == 2
    macs = f"{frame(0, 60, HERE, THERE)[6:12].hex(':')} > {frame(0, 60, HERE, THERE)[:6].hex(':')}"
    assert all("VF>VM" in line and macs in line for line in lines), lines


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_what_had_come(number: signal.Signals, relayed: Topology) -> None:
    process = started(relayed, "1", "-w", "-")
    before = relayed.counters(1)["vm_to_vf"]["tx_packets"]
    frames = send(relayed, 1)
    wait_for("the frames", lambda: relayed.counters(1)["vm_to_vf"]["tx_packets"] >= before + len(frames))
    process.send_signal(number)
    code, out, said = ended(process)
    assert code == 0, said
    assert len(read(out)) == 2 * len(frames)
    assert not captured(relayed, 1)


def test_a_reader_that_dies_leaves_no_capture_on(relayed: Topology) -> None:
    process = started(relayed, "1", "-w", "-")
    process.kill()
    ended(process)
    wait_for("the capture to end by itself", lambda: not captured(relayed, 1), 60.0)


def test_a_reader_that_was_stopped_goes_on(relayed: Topology) -> None:
    """Its capture has ended meanwhile; it begins another one, and says so."""
    process = started(relayed, "1", "-w", "-")
    process.send_signal(signal.SIGSTOP)
    wait_for("the capture to end by itself", lambda: not captured(relayed, 1), 60.0)
    process.send_signal(signal.SIGCONT)
    wait_for("another capture", lambda: captured(relayed, 1), 60.0)
    process.terminate()
    code, _out, said = ended(process)
    assert code == 0, said
    assert "stopped 1 times" in said


def test_a_reader_that_is_slow_misses_packets_and_costs_no_neighbour_any(relayed: Topology) -> None:
    """Between two reads there comes more than a ring holds."""
    client = relayed.instance.client
    with relayed.flow(2) as neighbour, CaptureReader(client, 1, "vf-to-vm", 262_144) as reading:
        wait_frames(neighbour)

        def missed_some() -> bool:
            fill(relayed, 1)
            return len(reading.last()) > 0 and reading.missed["vf-to-vm"] > 0

        wait_for("packets to be missed", missed_some, 120.0)
        assert reading.gaps == 0
        wait_frames(neighbour)
        assert neighbour.finish().clean


def fill(made: Topology, relay: int) -> None:
    """More than a ring holds, if all of it is captured."""
    whole = frame(0, 1514, HERE, THERE)
    with made.namespace.packet_socket(made.wires[relay].inner, ETHERTYPE) as out:
        for _ in range(2 * RING_BYTES // len(whole)):
            out.send(whole)


def test_a_relay_that_goes_ends_its_capture(relayed: Topology) -> None:
    relayed.wire(4)
    relayed.save()
    relayed.instance.wait_applied()
    process = started(relayed, "4")
    send(relayed, 4, 1)
    del relayed.lines[4]
    relayed.save()
    code, out, said = ended(process)
    assert code == 1
    assert "relay 4 was removed" in said
    assert len(out.splitlines()) == 1
    relayed.instance.check_running()


def test_refusals_are_sentences(relayed: Topology) -> None:
    unknown = relayed.instance.call("capture", "63")
    assert (unknown.returncode, "no relay 63" in unknown.stderr) == (1, True)
    with CaptureReader(relayed.instance.client, 1, "both", 64):
        twice = relayed.instance.call("capture", "1")
    assert (twice.returncode, "being captured already" in twice.stderr) == (1, True)
    assert f"{LEASE_S:g} s" in twice.stderr


@pytest.mark.parametrize(
    "wanted",
    [
        ("1", "both", 64),
        (True, "both", 64),
        (None, "both", 64),
        (1, "up", 64),
        (1, ["both"], 64),
        (1, "both", 0),
        (1, "both", MAX_SNAPLEN + 1),
        (1, "both", 64.0),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(wanted: tuple[Any, ...], relayed: Topology) -> None:
    with pytest.raises(EngineError) as refused:
        relayed.instance.client.start_capture(*wanted)
    assert refused.value.code == "bad-request"
    assert relayed.instance.client.observe().live.captures == ()


def test_what_was_never_begun_can_neither_be_read_nor_stopped(relayed: Topology) -> None:
    client = relayed.instance.client
    for ask in (client.read_capture, client.stop_capture):
        with pytest.raises(EngineError) as refused:
            ask(10**9)
        assert refused.value.code == "unknown"


def test_readings_of_two_relays_are_apart(relayed: Topology) -> None:
    client = relayed.instance.client
    with CaptureReader(client, 1, "vf-to-vm", 64) as one, CaptureReader(client, 2, "vf-to-vm", 64) as two:
        before = relayed.counters(2)["vf_to_vm"]["rx_packets"]
        send(relayed, 2, 5)
        wait_for("the frames", lambda: relayed.counters(2)["vf_to_vm"]["rx_packets"] >= before + 5)
        seen: list[list[Captured]] = [one.last(), two.last()]
    assert [len(each) for each in seen] == [0, 5]
