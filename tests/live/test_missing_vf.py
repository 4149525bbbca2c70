"""A VF that is not there: its relay says so, the others forward, and it heals when the VF appears."""

from __future__ import annotations

import dataclasses

from tests.kit.network.netns import VethWire
from tests.kit.spec_file import RelayLine
from tests.kit.topology import WORKER_CPU, shrunken, topology, wait_frames


def test_a_missing_vf_costs_only_its_own_relay_and_heals() -> None:
    with topology((1,), run=False) as made:
        late = VethWire(made.namespace, "10.77.2.1/24")
        made.lines[2] = RelayLine(2, late.vf_device, (WORKER_CPU,))
        made.save()
        made.instance.run(wait=False)
        made.instance.wait_state("relay 1", lambda state: 1 in state.relays, 120.0)
        status = made.wait_condition(2, "Degraded")
        assert "cannot be attached" in status["message"]
        assert late.vf_device.partition(",")[0] in status["message"]
        made.boot(1, "io")
        before, session = made.counters(1), made.session(1)
        with made.flow(1) as flow:
            wait_frames(flow)
            made.wires[2] = made.stack.enter_context(late)
            made.wait_condition(2, "Pending")
            made.boot(2)
            assert made.ping(2).received == 10
            report = flow.finish()
        assert report.clean, report
        assert made.session(1) == session
        assert not shrunken(before, made.counters(1))
        assert made.instance.status()["watch"]["last_apply"]["verdict"] == "applied"


def test_an_absent_pci_function_is_named() -> None:
    with topology((1,), run=False) as made:
        made.lines[2] = dataclasses.replace(made.lines[1], id=2, vf="0000:fe:1f.6")
        made.save()
        made.instance.run(wait=False)
        made.instance.wait_state("relay 1", lambda state: 1 in state.relays, 120.0)
        status = made.wait_condition(2, "Pending")
        assert "this host has no PCI function 0000:fe:1f.6; it is used as soon as it appears" in status["message"]
        made.boot(1)
        assert made.ping(1).received == 10
