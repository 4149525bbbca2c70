"""Each folder of cases/ is a plan: from an engine as observed.yaml made it to desired.yaml, as a person reads it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

import schema
from engine.api.client import Observation
from reconciler.apply.proposal import Intent, proposed
from reconciler.desired.from_spec import desired
from reconciler.observe.engines import HostSnapshot
from reconciler.planning.plan import plan
from reconciler.planning.predict import predict
from reconciler.terminal.plan_text import lines
from schema.model import Kind, State
from tests.kit.fakes.table_host import TableHost
from tests.kit.paths import ROOT
from tests.reconciler.planning.test_plan_properties import carried_out

CASES = sorted((Path(__file__).parent / "cases").iterdir())
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
RESTARTS = ("burst", "engine-anew-comes-alone", "main-cpu", "main-cpu-and-less", "vf-token")
"""What comes after a new process is another plan."""
HOST = TableHost(usable=frozenset(range(1024)))


def state(path: Path) -> State:
    """What the file asks for on the host of its folder: host.yaml has a TableHost's fields, and where guests are."""
    facts = yaml.safe_load(given.read_text()) if (given := path.with_name("host.yaml")).exists() else {}
    guests = {(Kind.SOCKET, socket): node for socket, node in facts.pop("guests", {}).items()}
    wanted = desired(schema.load(path), replace(HOST, **facts))
    return replace(wanted, nodes={**wanted.nodes, **guests})


def applied(path: Path) -> State:
    """What an engine is once this spec was applied to it."""
    target = state(path)
    empty = State(engine=target.engine)
    return replace(predict(empty, plan(target, empty)), nodes=target.nodes)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Path) -> None:
    snapshot = HostSnapshot({0: Observation("boot", 0, applied(case / "observed.yaml"))})
    intent = Intent("desired.yaml", "0" * 64, state(case / "desired.yaml"), guarded=False)
    text = "".join(f"{line}\n" for line, _ in lines(proposed(intent, snapshot, TableHost()).saved))
    expected = case / "plan.txt"
    if os.environ.get("VIO4WD_WRITE_PLANS"):
        expected.write_text(text)
    assert text == expected.read_text()


@pytest.mark.parametrize("case", [case for case in CASES if case.name not in RESTARTS], ids=lambda case: case.name)
def test_case_leads_there(case: Path) -> None:
    carried_out(state(case / "desired.yaml"), applied(case / "observed.yaml"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_every_example_is_planned(example: Path) -> None:
    target = state(example)
    live = carried_out(target, State(engine=target.engine)).state
    assert set(live.relays) == set(target.relays)
    assert plan(target, live).actions == ()
