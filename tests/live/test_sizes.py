"""How much is taken at once: the VF's rings and the burst, as the spec has them."""

from __future__ import annotations

import pytest

from tests.kit.runner.repetitions import LONG
from tests.kit.topology import Topology, topology


def saved(made: Topology, before: str, after: str) -> list[tuple[str, str, str]]:
    """Saves the spec with one change. Gives what was planned for it: verb, resource, impact."""
    text = made.text.replace(before, after)
    draft = made.instance.directory / "draft.yaml"
    draft.write_text(text)
    plan = made.instance.report("plan", str(draft))["changes"]
    made.instance.save(text)
    made.instance.wait_applied()
    return [(each["action"], each["resource"], each["impact"]) for each in plan]


def test_rings_of_another_size_cost_only_their_own_relay_a_moment() -> None:
    with topology((1, 2)) as made:
        made.boot(1)
        made.boot(2, "io")
        sessions = made.session(1), made.session(2)
        port = made.wires[1].vf_device.partition(",")[0]
        with made.flow(2) as flow:
            planned = saved(made, '"id": 1,', '"id": 1, "descriptors": 256,')
            made.wait_ping(1)
            report = flow.finish()
        assert planned == [("replace", f"port:{port}", "relay")]
        assert report.clean, report
        assert (made.session(1), made.session(2)) == sessions


@pytest.mark.skipif(not LONG, reason="needs VIO4WD_TEST_LONG=1 (scripts/test --long)")
@pytest.mark.parametrize("burst", [8, 64])
def test_another_burst(burst: int) -> None:
    """It is compiled for this, which takes most of the test's time when it was not before."""
    with topology() as made:
        boot = made.instance.client.hello().boot_id
        assert saved(made, '"log_level"', f'"burst": {burst}, "log_level"') == [("replace", "engine:0", "host")]
        assert made.instance.client.hello().boot_id != boot
        made.boot(1, "io")
        with made.flow(1) as flow:
            made.wait_more(1, "vf_to_vm", 2000)
            report = flow.finish()
        assert report.clean, report
