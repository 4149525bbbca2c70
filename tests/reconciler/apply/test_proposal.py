"""One preparation for all who show or apply a plan: a host plan is made once for each decision."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from reconciler.apply import converge, transaction  # noqa: F401 - they are looked through for plan_host
from reconciler.apply.proposal import Intent, proposed, proposed_again
from reconciler.cli import main
from reconciler.desired.desired_state import DesiredState
from reconciler.host.host import Host
from reconciler.observe.engines import HostSnapshot
from reconciler.planning import host_plan
from reconciler.planning.host_plan import HostPlan
from reconciler.policy.removal_guards import Policy
from reconciler.status import preview  # noqa: F401 - likewise
from reconciler.watch.goal import Goal, choose_goal
from schema.model import State
from state.store import Store
from tests.kit.command_line import ONE, TWO, Shell
from tests.kit.fakes.fake_engine import FakeEngine, LocalClient
from tests.kit.fakes.table_host import TableHost
from tests.kit.fakes.watch_harness import WatchHarness, document
from tests.kit.relay_states import state


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[State]:
    """What host plans were made for in this process, by whomever."""
    made: list[State] = []
    real = host_plan.plan_host

    def counted(desired: State, snapshot: HostSnapshot) -> HostPlan:
        made.append(desired)
        return real(desired, snapshot)

    for name, module in list(sys.modules.items()):
        if name.startswith("reconciler.") and getattr(module, "plan_host", None) is real:
            monkeypatch.setattr(module, "plan_host", counted)
    return made


def run(shell: Shell, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """A command, in this process."""
    for name in ("VIO4WD_RUN_DIR", "VIO4WD_STATE_DIR"):
        monkeypatch.setenv(name, shell.environment[name])
    return main([*map(str, arguments)])


@pytest.mark.parametrize("command", ["plan", "apply"])
def test_a_command_plans_once(plans: list[State], shell: Shell, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    assert run(shell, monkeypatch, command, shell.write(ONE)) == 0
    assert [set(each.relays) for each in plans] == [{1}]


def test_a_plan_that_was_kept_is_not_made_again(
    plans: list[State], shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = shell.directory / "kept.plan"
    assert run(shell, monkeypatch, "plan", "-o", kept, shell.write(ONE)) == 0
    plans.clear()
    assert run(shell, monkeypatch, "apply", kept) == 0
    assert (plans, set(shell.engine.state.relays)) == ([], {1})


def test_what_is_rolled_back_is_planned_once(plans: list[State], shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(shell, monkeypatch, "apply", shell.write(ONE)) == 0
    plans.clear()
    assert run(shell, monkeypatch, "apply", "--confirm", "1s", shell.write(TWO)) == 1
    assert [set(each.relays) for each in plans] == [{1, 2}, {1}]
    assert set(shell.engine.state.relays) == {1}


def test_the_watch_plans_once_whenever_it_reconciles(
    plans: list[State], monkeypatch: pytest.MonkeyPatch, harness: WatchHarness
) -> None:
    """What it decided, it carries out: nothing is planned to see whether a spec fits, or for an engine's start."""
    turns: list[DesiredState] = []

    def chosen(store: Store, file: str, accepted: DesiredState, snapshot: HostSnapshot, host: Host) -> Goal | None:
        turns.append(accepted)
        return choose_goal(store, file, accepted, snapshot, host)

    monkeypatch.setattr("reconciler.watch.controller.choose_goal", chosen)
    plans.clear()
    harness.file.write_text(document(1, 2))
    harness.until_relays(1, 2)
    harness.until("the record", lambda: bool(harness.report["last_apply"]["summary"]["add"]))
    harness.stop()
    assert 0 < len(plans) == len(turns)


def test_a_replanned_apply_still_names_owners_and_keeps_what_was_held_back() -> None:
    client = LocalClient(FakeEngine.of(state(3)))
    snapshot = HostSnapshot({0: client.observe()})
    intent = Intent("f", "0" * 64, state(1, 2), Policy(frozenset({3})), {2: "ovsdb"})
    found = proposed(intent, snapshot, TableHost())
    assert [each.resource for each in found.guarded.held_back] == ["relay:3"]
    assert found.again(snapshot) == found.todo
    assert any("owner: ovsdb" in action.reason for action in found.again(snapshot).actions)


def test_a_kept_plan_is_guarded_as_things_are_now() -> None:
    client = LocalClient(FakeEngine.of(state(1)))
    snapshot = HostSnapshot({0: client.observe()})
    found = proposed(Intent("f", "0" * 64, state()), snapshot, TableHost())
    policy = replace(found.saved.policy, protected=frozenset({1}))
    again = proposed_again(found.saved, policy, None, snapshot, TableHost())
    assert (again.saved, again.todo.actions) == (found.saved, found.todo.actions)
    assert [each.resource for each in again.guarded.held_back] == ["relay:1"]
