"""virtio-forwarder's statistics, configuration and core scheduler by their installed clients, of a relay with traffic.

What virtio-forwarder fell short of, and where it is shown that vio4wd does not: more than 32 relays in test_shards.py;
removal and shutdown while guests are connected in test_shutdown.py and test_churn.py; drops counted, bytes of what was
really sent, and order kept on a partial send in tests/engine/burst/test_loops.py and by each SequencedFlow here; guests
that enable some of their queues in test_queues.py; the rest below.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tests.kit.topology import CPUS, wait_frames
from tests.kit.waiting import wait_for
from tests.live.openstack_host import NEIGHBOUR, OPENSTACK, VF, OpenStackHost, openstack_host

FIRST, LAST = CPUS[0], CPUS[-1]


@contextlib.contextmanager
def busy_site() -> Iterator[OpenStackHost]:
    """Relay 5 has no CPUs of its own, so the core scheduler may move it."""
    with openstack_host(OPENSTACK, run=False) as made:
        made.topology.keys["worker_cpus"] = CPUS
        made.topology.lines[NEIGHBOUR] = replace(made.topology.lines[NEIGHBOUR], cpus=None)
        made.topology.save()
        made.instance.run()
        made.opened()
        made.topology.serve(NEIGHBOUR, "io")
        yield made


def fields(text: str) -> dict[str, str]:
    """What the flat format says of the neighbour, without the CPU in the name."""
    prefix = f"relay_{NEIGHBOUR}."
    lines = (line.removeprefix(prefix).split("=", 1) for line in text.splitlines() if line.startswith(prefix))
    return {".".join(part for part in name.split(".") if not part.startswith("cpu_")): value for name, value in lines}


def test_statistics_are_the_engines_and_reading_does_not_reset_them() -> None:
    with busy_site() as made:
        with made.topology.flow(NEIGHBOUR) as flow:
            wait_frames(flow)
            moving = fields(made.client("stats", "--delay=300").stdout)
            assert flow.finish().clean
        print({name: value for name, value in moving.items() if "rate" in name})
        assert float(moving["vf_to_vm.pkt_rate_rx_from_vf"]) > 0
        assert float(moving["vm_to_vf.byte_rate_tx_to_vf"]) > 0
        first, second = (fields(made.client("stats", "--delay=0").stdout) for _ in range(2))
        still = {name: value for name, value in first.items() if "rate" not in name}
        assert still == {name: value for name, value in second.items() if "rate" not in name}
        assert (first["active"], first["vhost.vhost_socket_name"]) == ("True", str(made.instance.socket(NEIGHBOUR)))
        assert (first["vf_to_vm.internal_state"], first["vm_to_vf.internal_state"]) == ("DPDK_READY", "VIRTIO_READY")
        counted = made.topology.counters(NEIGHBOUR)
        for way, names in (("vf_to_vm", ("rx_from_vf", "tx_to_vm")), ("vm_to_vf", ("rx_from_vm", "tx_to_vf"))):
            for name, kind in zip(names, ("rx", "tx"), strict=True):
                assert int(first[f"{way}.pkts_{name}"]) == counted[way][f"{kind}_packets"] > 0
                assert int(first[f"{way}.bytes_{name}"]) == counted[way][f"{kind}_bytes"] > 0
        short = made.client("stats", "--delay=0", "-z").stdout
        assert "=0\n" not in short
        everything = made.client("stats", "--include-inactive", "--delay=0").stdout
        assert {f"relay_{id_}.active=False" for id_ in range(64) if id_ != NEIGHBOUR} <= set(everything.splitlines())
        assert "relay_0.vf_to_vm.internal_state=DPDK_UNINIT" in everything.splitlines()
        assert "socket_id: 4294967295" in made.client("stats", "--include-inactive", "--output-format=protobuf").stdout
        rates = {value for name, value in first.items() if "rate" in name}
        assert rates == {"0.0"}, "without a delay there is nothing to take them over"
        made.topology.guests.pop(NEIGHBOUR).kill()
        made.instance.socket(NEIGHBOUR).unlink(missing_ok=True)  # the guest's, and it leaves it behind
        wait_for("a VF without its guest", lambda: _state(made) == ("False", "True", "DPDK_ADDED"), 30.0)
        assert made.client("stats", "--output-format=protobuf").stdout == "status: OK\n\n"


def _state(made: OpenStackHost) -> tuple[str, str, str]:
    """Of the neighbour, whether its guest is there or not."""
    shown = fields(made.client("stats", "--include-inactive", "--delay=0").stdout)
    return shown["active"], shown["vf_to_vm.active"], shown["vf_to_vm.internal_state"]


def test_the_pinner_moves_a_busy_relay_with_vf_to_vm_first_and_it_stays_there() -> None:
    with busy_site() as made:
        pin = f"--virtio-cpu={NEIGHBOUR}:{LAST},{FIRST}"
        with made.topology.flow(NEIGHBOUR) as flow:
            wait_frames(flow)
            moved = made.client("core_pinner", pin)
            assert (moved.returncode, "Scheduler response: OK" in moved.stdout) == (0, True), moved.stdout
            print(moved.stdout)
            wait_frames(flow)
            nobodys = made.client("core_pinner", f"--virtio-cpu={NEIGHBOUR}:{LAST + 1}")
            assert (nobodys.returncode, f"CPU {LAST + 1} is no worker's" in nobodys.stdout) == (1, True), nobodys.stdout
            report = flow.finish()
        assert report.clean, report
        assert _pinned(made) == (LAST, FIRST)
        shown = made.client("config").stdout
        assert f"relay_number: {NEIGHBOUR}\n  vf2virtio_cpu: {LAST}\n  virtio2vf_cpu: {FIRST}\n" in shown
        assert f"vf_to_vm={LAST}" in made.client("stats", "--delay=0").stdout
        os.kill(made.instance.engine_pid, signal.SIGKILL)
        wait_for("the relay on its CPUs again", lambda: _pinned(made) == (LAST, FIRST), 60.0)


def _pinned(made: OpenStackHost) -> tuple[int, int] | None:
    seen = made.instance.observed()
    pin = seen.state.pins.get(NEIGHBOUR) if seen is not None else None
    return (pin.vf_to_vm, pin.vm_to_vf) if pin is not None else None


def test_the_monitor_shows_what_the_engine_measures() -> None:
    with busy_site() as made, made.topology.storm(NEIGHBOUR) as flow:
        wait_frames(flow)
        command = made.command("monitor_load", "--poll-interval=0.3")
        with subprocess.Popen(command, env=made.instance.environment, stdout=subprocess.PIPE, text=True) as monitor:
            assert monitor.stdout is not None
            bars: dict[str, str] = {}
            while not any(bars.values()):
                cpu, colon, bar = monitor.stdout.readline().rstrip("\n").partition(": ")
                bars |= {cpu: bar} if colon else {}
            monitor.terminate()
        print(bars)
        assert set(bars) <= {f"CPU{cpu}" for cpu in CPUS}


def test_an_add_that_fails_leaves_nothing_behind_and_touches_nothing() -> None:
    with busy_site() as made:
        Path(made.guest).write_text("somebody's file")
        with made.topology.flow(NEIGHBOUR) as flow:
            failed = made.plug()
            assert (failed.returncode, "exists and is no socket" in failed.stdout) == (1, True), failed.stdout
            assert made.relays() == {}
            assert made.unplug().returncode == 1
            Path(made.guest).unlink()
            assert made.plug().returncode == 0
            assert made.relays() == {0: (VF, "port-control")}
            assert flow.finish().clean
        assert made.unplug().returncode == 0
