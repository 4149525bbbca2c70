"""The state directory can't be written while vio4wd starts for the first time on a host, and then it can."""

from __future__ import annotations

import pytest

from tests.kit.runner.repetitions import LONG
from tests.kit.system.small_disk import small_disk
from tests.kit.topology import topology
from tests.kit.waiting import wait_for


@pytest.mark.needs("root")
@pytest.mark.skipif(not LONG, reason="waits for half a minute: scripts/test --long; test_parameters.py has the parts")
@pytest.mark.parametrize("how", ["full", "read-only"])
def test_relays_run_meanwhile_and_what_is_to_be_kept_is_kept_afterwards(how: str) -> None:
    with topology(run=False) as made, small_disk(made.instance.state_dir) as disk:
        disk.fill() if how == "full" else disk.read_only()
        made.instance.run()
        made.wait_condition(1, "Pending")
        faults = str(made.instance.report("status")["watch"]["faults"])
        assert "what engines start with is kept in" in faults
        assert "can't be used" in faults
        disk.empty() if how == "full" else disk.read_only(on=False)
        kept = made.instance.state_dir / "engine-0.json"
        wait_for("the parameters", kept.exists, 90.0, 0.5)
        wait_for("no Problem", lambda: not made.instance.report("status")["watch"]["faults"], 90.0, 0.5)
        assert not (made.instance.run_dir / "engine-0.json").exists()
