"""Plans that are kept, shown, limited and carried out later, as a pipeline does it."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from engine.api.client import Observation
from reconciler.host.refusal import SpecUnfit
from reconciler.observe.engines import HostSnapshot
from reconciler.policy.relay_subsets import targeted
from schema.model import Engine, Pin, Port, Relay, Resource, Socket, State, Worker
from tests.kit.command_line import ONE, PLAN_SCHEMA, TWO, Shell, document
from tests.kit.system.other_user import umask


def kept(shell: Shell, *options: str) -> Path:
    """The plan of the shell's file."""
    path = shell.directory / "today.plan"
    done = shell("plan", "-o", path, *options, shell.file)
    assert done.returncode == 0, done
    return path


def test_a_pipeline_validates_plans_shows_applies_and_is_refused_the_second_time(shell: Shell) -> None:
    shell.write(TWO)
    assert shell("validate", shell.file).returncode == 0
    path = shell.directory / "today.plan"
    assert shell("plan", "--detailed-exitcode", "-o", path, shell.file).returncode == 2
    jsonschema.validate(json.loads(path.read_text()), PLAN_SCHEMA)
    shown = shell("show", path)
    assert (shown.returncode, "good until" in shown.stdout) == (0, True)
    assert "+ relay:2" in shown.stdout
    assert shell.json("show", path) == json.loads(path.read_text())
    assert shell("apply", path).returncode == 0
    assert shell("plan", "--detailed-exitcode", shell.file).returncode == 0
    again = shell("apply", path)
    assert again.returncode == 1
    assert "since then: pin:1 has come, pin:2 has come, relay:1 has come, relay:2 has come" in again.stderr
    assert "make a new one with: vio4wd plan -o FILE" in again.stderr


def test_a_stale_plan_is_refused_with_what_changed(shell: Shell) -> None:
    shell("apply", shell.write(TWO))
    shell.write(document("id: 1, vf: net_null1", "id: 3, vf: net_null3"))
    path = kept(shell)
    shell("apply", shell.write(ONE))
    done = shell("apply", path)
    assert "since then: relay:2 has gone, " in done.stderr
    assert done.returncode == 1
    assert set(shell.engine.state.relays) == {1}


def test_an_expired_plan_is_refused_and_shown_as_such(shell: Shell) -> None:
    shell.write(ONE)
    path = kept(shell, "--expires", "0.001s")
    done = shell("apply", path)
    assert (done.returncode, "is too old now; nothing differs in what is live since then" in done.stderr) == (1, True)
    assert shell.engine.executed == []
    assert "too old since" in shell("show", path).stdout


def test_drift_stands_apart_from_what_the_spec_wants_otherwise(shell: Shell) -> None:
    shell("apply", shell.write(TWO))
    shell.engine.live = {name: r for name, r in shell.engine.live.items() if r != shell.engine.state.relays[2]}
    shell.write(document("id: 1, vf: net_null1", "id: 2, vf: net_null2", "id: 3, vf: net_null3"))
    text = shell("plan", shell.file).stdout
    drift, _, wanted = text.partition("What the spec wants otherwise than before:")
    assert "Somebody changed what was applied. To set that right (drift):" in drift
    assert ("+ relay:2" in drift, "+ relay:3" in drift) == (True, False)
    assert ("+ relay:2" in wanted, "+ relay:3" in wanted) == (False, True)
    changes = shell.json("plan", shell.file)["changes"]
    assert [change["resource"] for change in changes if change["drift"]] == ["relay:2"]


def test_what_a_new_engine_lacks_is_no_drift(shell: Shell) -> None:
    shell("apply", shell.write(ONE))
    shell.engine.restart()
    assert not any(change["drift"] for change in shell.json("plan", shell.file)["changes"])


def test_only_the_relay_that_is_named_and_what_it_needs(shell: Shell) -> None:
    shell.write(TWO)
    assert "relay:2" not in shell("plan", "--target", "relay:1", shell.file).stdout
    assert shell("apply", "--target", "relay:1", shell.file).returncode == 0
    assert set(shell.engine.state.relays) == {1}
    done = shell("plan", "--target", "relay:9", shell.file)
    assert (done.returncode, "relay:9 is neither in the spec nor live" in done.stderr) == (1, True)
    path = kept(shell)
    assert "carried out as a whole" in shell("apply", "--target", "relay:2", path).stderr


def test_two_files_are_compared_without_an_engine(alone: Shell) -> None:
    alone.write(document("id: 1, vf: net_null1", engine="worker_cpus: [900]"))
    other = alone.directory / "other.yaml"
    other.write_text(document("id: 1, vf: net_null9", "id: 2, vf: net_null2", engine="worker_cpus: [900]"))
    done = alone("diff", "--detailed-exitcode", alone.file, other)
    assert (done.returncode, "+ relay:2" in done.stdout, "~ relay:1" in done.stdout) == (2, True, True), done
    same = alone("diff", "--detailed-exitcode", alone.file, alone.file)
    assert (same.returncode, "Nothing to do" in same.stdout) == (0, True)
    jsonschema.validate(alone.json("diff", alone.file, other), PLAN_SCHEMA)


def state(*pairs: tuple[int, int, int], cpus: tuple[int, ...] = (1,)) -> State:
    """Relays as (id, port, socket), pinned to the first CPU."""
    found: list[Resource] = [Engine(), *map(Worker, cpus)]
    for id_, port, socket in pairs:
        found += [Port(f"p{port}"), Socket(f"/{socket}"), Relay(id_, f"p{port}", f"/{socket}")]
        found.append(Pin(id_, cpus[0], cpus[0]))
    return State.of(found)


@pytest.mark.parametrize(
    ("live", "target", "ids", "expected"),
    [
        (state(), state((1, 1, 1), (2, 2, 2)), {1}, state((1, 1, 1))),
        (state((1, 1, 1), (2, 2, 2)), state(), {1}, state((2, 2, 2))),
        (state((1, 1, 1), (2, 2, 2)), state((1, 2, 1), (2, 1, 2)), {1}, state((1, 2, 1), (2, 1, 2))),
        (state((1, 1, 1), (2, 2, 2)), state((3, 1, 1)), {3}, state((2, 2, 2), (3, 1, 1))),
        (state((2, 2, 2)), state((1, 1, 1), cpus=(5,)), {1}, None),
    ],
)
def test_targeted(live: State, target: State, ids: set[int], expected: State | None) -> None:
    found = targeted(target, HostSnapshot({0: Observation("b", 1, live)}), frozenset(ids), None)
    if expected is None:
        assert found.workers == {Worker(1), Worker(5)}
        assert set(found.relays) == {1, 2}
    else:
        assert found == expected
    with pytest.raises(SpecUnfit, match="neither"):
        targeted(target, HostSnapshot({0: Observation("b", 1, live)}), frozenset({40}), None)


TOKEN = "14d63f20-8445-11ea-8900-1f9ce7d5650d"


def with_token(text: str) -> str:
    assert "engine: {" in text
    return text.replace("engine: {", f"engine: {{vfio_vf_token: {TOKEN}, ")


def test_the_vf_token_is_kept_for_its_owner_and_shown_to_nobody(shell: Shell) -> None:
    """Neither when somebody looks at a plan, nor at what was applied."""
    shell("apply", shell.write(ONE))
    shell.write(with_token(ONE))
    with umask(0o022):
        path = kept(shell)
    assert (TOKEN in path.read_text(), path.stat().st_mode & 0o777) == (True, 0o600)
    printed = [shell("plan", "--json", shell.file), shell("plan", shell.file), shell("show", path)]
    printed += [shell("show", "--json", path), shell("apply", path)]
    printed += [shell("history", "show", "2"), shell("history", "show", "2", "--json"), shell("history", "--json")]
    printed += [shell("status"), shell("status", "--json")]
    assert [each.args for each in printed if TOKEN in each.stdout + each.stderr] == []
    assert "-/+ engine:0  vfio_vf_token changed" in printed[1].stdout
    left = shell.directory / "state" / "engine-0.json"
    assert (TOKEN in left.read_text(), left.stat().st_mode & 0o777) == (True, 0o600)
    path.write_text(printed[0].stdout)
    again = shell("apply", path)
    assert (again.returncode, "its VF token was left out" in again.stderr) == (1, True)


def test_a_plan_without_it_obeys_the_umask_and_is_never_wider_than_before(shell: Shell) -> None:
    shell.write(ONE)
    with umask(0o022):
        path = kept(shell)
        assert path.stat().st_mode & 0o777 == 0o644
        path.chmod(0o600)
        assert kept(shell).stat().st_mode & 0o777 == 0o600
