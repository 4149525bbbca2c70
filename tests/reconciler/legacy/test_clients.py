"""virtio-forwarder's command-line clients, against the services on real sockets: options, output and exit codes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.legacy.clients import config, core_pinner, monitor_load, port_control, stats
from reconciler.legacy.virtioforwarder_pb2 import RelayState, StatsResponse
from reconciler.observe.rates import DirectionRates, RelayRates
from tests.kit.fakes.services_harness import ServicesHarness


@pytest.fixture
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServicesHarness]:
    found = ServicesHarness(tmp_path_factory.mktemp("z"))
    yield found
    found.close()


def relay() -> RelayState:
    return RelayState(
        id=7,
        active=True,
        cpu=RelayState.Cpu(vf_to_vm=1, vm_to_vf=2),
        vhost=RelayState.Vhost(vhost_socket_name="/tmp/s7"),
        vf=RelayState.Vf(pci_addr_str="0000:05:08.7"),
        vf_to_vm=RelayState.VfToVm(
            active=True,
            internal_state="DPDK_READY",
            pkts_rx_from_vf=5,
            bytes_rx_from_vf=300,
            pkts_tx_to_vm=4,
            bytes_tx_to_vm=240,
            pkts_dropped_vm_queue_full=1,
            bytes_dropped_vm_queue_full=60,
            pkts_dropped_vm_not_connected=0,
            bytes_dropped_vm_not_connected=0,
            pkt_rate_rx_from_vf=2.5,
            byte_rate_rx_from_vf=150.0,
            pkt_rate_tx_to_vm=2.0,
            byte_rate_tx_to_vm=120.0,
        ),
        vm_to_vf=RelayState.VmToVf(
            active=False,
            internal_state="VIRTIO_UNINIT",
            pkt_rate_rx_from_vm=0.0,
            byte_rate_rx_from_vm=0.0,
            pkt_rate_tx_to_vf=0.0,
            byte_rate_tx_to_vf=0.0,
        ),
        socket_id=0,
    )


FLAT = """\
relay_7.active=True
relay_7.cpu.vf_to_vm=1
relay_7.cpu.vm_to_vf=2
relay_7.vf.pci_addr_str=0000:05:08.7
relay_7.vhost.vhost_socket_name=/tmp/s7
relay_7.vf_to_vm.active=True
relay_7.vf_to_vm.internal_state=DPDK_READY
relay_7.vf_to_vm.cpu_1.pkts_rx_from_vf=5
relay_7.vf_to_vm.cpu_1.bytes_rx_from_vf=300
relay_7.vf_to_vm.cpu_1.pkts_tx_to_vm=4
relay_7.vf_to_vm.cpu_1.bytes_tx_to_vm=240
relay_7.vf_to_vm.cpu_1.pkt_rate_rx_from_vf=2.5
relay_7.vf_to_vm.cpu_1.byte_rate_rx_from_vf=150.0
relay_7.vf_to_vm.cpu_1.pkt_rate_tx_to_vm=2.0
relay_7.vf_to_vm.cpu_1.byte_rate_tx_to_vm=120.0
relay_7.vf_to_vm.cpu_1.pkts_dropped_vm_queue_full=1
relay_7.vf_to_vm.cpu_1.bytes_dropped_vm_queue_full=60
relay_7.vf_to_vm.cpu_1.pkts_dropped_vm_not_connected=0
relay_7.vf_to_vm.cpu_1.bytes_dropped_vm_not_connected=0
relay_7.vm_to_vf.active=False
relay_7.vm_to_vf.internal_state=VIRTIO_UNINIT
relay_7.vm_to_vf.cpu_2.pkt_rate_rx_from_vm=0.0
relay_7.vm_to_vf.cpu_2.byte_rate_rx_from_vm=0.0
relay_7.vm_to_vf.cpu_2.pkt_rate_tx_to_vf=0.0
relay_7.vm_to_vf.cpu_2.byte_rate_tx_to_vf=0.0
"""


def test_flat_is_line_for_line_what_scripts_grep_for() -> None:
    assert list(stats.flat(relay(), suppress_zero=False)) == FLAT.splitlines()
    without = [line for line in FLAT.splitlines() if not line.endswith("=0")]
    assert list(stats.flat(relay(), suppress_zero=True)) == without


def test_the_core_map_has_a_column_for_each_worker() -> None:
    reply = StatsResponse(status=StatsResponse.OK, relay=[relay()])
    assert list(core_pinner.core_map(reply, [1, 2])) == [
        "===================",
        "== 01 ==   == 02 ==",
        "      07   07",
        "===================",
    ]


def test_bars_are_of_measured_load() -> None:
    reply = StatsResponse(status=StatsResponse.OK, relay=[relay()])
    measured = {7: RelayRates(DirectionRates(load=0.5), DirectionRates(load=2.0))}
    assert list(monitor_load.bars([1, 2, 3], reply, measured)) == [f"CPU1: {'-' * 30}", f"CPU2: {'-' * 60}", "CPU3: "]


def test_port_control_ends_with_0_on_ok_and_else_with_1(
    harness: ServicesHarness, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint = f"--zmq_ep=ipc://{harness.path('port_control')}"
    plug = [endpoint, "--pci-addr=05:08.1", "--vhost-path=/tmp/vhu1"]
    assert port_control.main(["add_sock", *plug]) == 0
    assert harness.front.wanted == {0: {"vf": "0000:05:08.1", "socket": "/tmp/vhu1"}}
    assert port_control.main(["add_sock", *plug]) == 1
    assert capsys.readouterr().out.startswith("status: ERROR\nerror_code: 16\n")
    assert port_control.main(["add_sock", *plug, "--conditional"]) == 1
    capsys.readouterr()
    assert port_control.main(["query_pci", endpoint, "--vhost-path=/tmp/vhu1"]) == 0
    assert capsys.readouterr().out == "0000:05:08.1\n"
    assert port_control.main(["remove_sock", *plug]) == 0
    assert port_control.main(["remove_sock", *plug]) == 1
    assert port_control.main(["remove_sock", *plug, "--conditional"]) == 1
    assert port_control.main(["remove", endpoint, "--virtio-id=3", "--conditional"]) == 0
    assert port_control.main(["remove", endpoint, "--virtio-id=3"]) == 1
    bond = [
        endpoint,
        "--virtio-id=3",
        "--pci-addr=05:08.1",
        "--pci-addr=05:08.2",
        "--name=net_bonding3",
        "--conditional",
    ]
    assert [port_control.main(["add", *bond]) for _ in range(2)] == [0, 1]
    assert port_control.main(["add", endpoint, "--send-garbage"]) == 1
    assert port_control.main(["add", endpoint, "--pci-addr=05:08.1", "--virtio-id=3", "--crash-after-send"]) == 1
    assert port_control.main(["add", endpoint, "--pci-addr=05:08.1", "--virtio-id=-1"]) == 1


def test_the_others_print_what_they_are_told(harness: ServicesHarness, capsys: pytest.CaptureFixture[str]) -> None:
    harness.front.cpus = {3: (1, 2)}
    assert config.main([f"--config-ep=ipc://{harness.path('config')}"]) == 0
    assert "relay_number: 3\n  vf2virtio_cpu: 1\n  virtio2vf_cpu: 2\n" in capsys.readouterr().out
    endpoint = f"--stats-ep=ipc://{harness.path('stats')}"
    assert stats.main([endpoint, "--include-inactive", "--delay=20"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[:2] == ["relay_0.active=False", "relay_0.vhost.vhost_socket_name=/t/0"]
    assert stats.main([endpoint, "--output-format=protobuf", "--delay=20"]) == 0
    assert capsys.readouterr().out.startswith("status: OK")
    both = [endpoint, f"--sched-ep=ipc://{harness.path('core_sched')}"]
    assert core_pinner.main(both) == 0
    assert capsys.readouterr().out.startswith("Worker cores affinities:\n====")
    assert core_pinner.main([*both, "--virtio-cpu=5:2", "--virtio-cpu=6:1,2"]) == 0
    assert harness.front.cpus == {3: (1, 2), 5: (2, 2), 6: (1, 2)}
    assert "Setting relay 5=2,2\nSetting relay 6=1,2\nScheduler response: OK\n" in capsys.readouterr().out
    assert core_pinner.main([*both, "--virtio-cpu=9:1"]) == 1
    assert "Scheduler response: ERROR (migrate_relay_cpus(): relay 9 is wanted by nobody)" in capsys.readouterr().out


def test_without_a_service_they_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nobody = f"ipc://{tmp_path}/none"
    assert config.main([f"--config-ep={nobody}"]) == 1
    assert capsys.readouterr().err == f"{nobody}: no reply within 2 s; is vio4wd running, with this service?\n"
    assert config.main(["--config-ep=nonsense"]) == 1
    assert "an endpoint looks like ipc://" in capsys.readouterr().err
