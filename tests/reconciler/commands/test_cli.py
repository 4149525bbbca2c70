"""The command line as a person or a script meets it, against a fake engine on the real wire."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from reconciler.apply.saved_plan import PlanError, is_plan, parse_plan, read_plan
from reconciler.cli import main
from reconciler.commands import COMMANDS
from schema.model import Engine, Verb
from state.relay_requests import put
from state.store import Store
from tests.kit.command_line import ONE, PLAN_SCHEMA, TWO, Shell, document
from tests.kit.waiting import wait_for


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("nonsense",),
        ("plan", "--nonsense"),
        ("plan", "a", "b"),
        ("stats", "--interval", "0"),
        ("history", "--limit", "-1"),
        ("capture",),
        ("capture", "net_null1"),
        ("capture", "1", "--direction", "up"),
        ("capture", "1", "--snaplen", "0"),
        ("engine", "--shard", "x"),
        ("apply", "--allow-destroy", "relay:64"),
        ("plan", "--allow-destroy", "3"),
    ],
)
def test_usage_errors_are_64(alone: Shell, arguments: tuple[str, ...]) -> None:
    done = alone(*arguments)
    assert done.returncode == 64
    assert "usage:" in done.stderr


def test_version_and_help(alone: Shell) -> None:
    assert alone("--version").stdout.startswith("vio4wd ")
    assert "A first day:" in alone("--help").stdout


@pytest.mark.parametrize("name", [command.NAME for command in COMMANDS])
def test_each_command_has_help_with_examples(capsys: pytest.CaptureFixture[str], name: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert (ended.value.code, "Example" in capsys.readouterr().out) == (0, True)


def test_validate(alone: Shell) -> None:
    assert alone("validate", alone.write(ONE)).stdout.endswith("is valid: 1 relay.\n")
    alone.write(ONE.replace("net_null1", "nonsense"))
    done = alone("validate", alone.file)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{alone.file}:4:")
    report = alone.json("validate", alone.file)
    assert (report["valid"], report["problems"][0]["line"]) == (False, 4)
    done = alone("validate", alone.directory / "missing.yaml")
    assert (done.returncode, done.stdout) == (1, "")


def test_without_an_engine_a_sentence_says_how_to_start_one(alone: Shell) -> None:
    alone.write(ONE)
    for command in (("plan", alone.file), ("apply", alone.file), ("stats",), ("capture", "1")):
        done = alone(*command)
        assert (done.returncode, done.stdout) == (1, "")
        assert "start one with: vio4wd run FILE" in done.stderr
    done = alone("status")
    assert done.returncode == 1
    assert "no engine answers" in done.stdout
    assert "no watch is running" in done.stdout
    assert alone.json("status")["engine"] is None


def test_plan_apply_and_nothing_to_do(shell: Shell) -> None:
    shell.write(TWO)
    done = shell("plan", shell.file)
    assert done.returncode == 0
    assert "Plan: 7 to add, 0 to change, 0 to remove, 0 to migrate (impact: none)\n" in done.stdout
    assert shell("plan", "--detailed-exitcode", shell.file).returncode == 2
    done = shell("apply", shell.file)
    assert (done.returncode, "Applied and verified: 7 to add" in done.stdout) == (0, True), done
    for _ in range(2):
        done = shell("plan", "--detailed-exitcode", shell.file)
        assert (done.returncode, done.stdout) == (0, f"Nothing to do: the engine matches {shell.file}.\n")
    assert shell("apply", shell.file).stdout == f"Nothing to do: the engine matches {shell.file}.\n"
    assert shell("plan", "--detailed-exitcode", shell.directory / "missing.yaml").returncode == 1
    parameters = json.loads((shell.directory / "state" / "engine-0.json").read_text())
    assert (parameters["engine"]["main_cpu"], parameters["workers"]) == (0, [{"cpu": 0}])


def test_plan_json_is_as_its_schema_says(shell: Shell) -> None:
    shell("apply", shell.write(TWO))
    shell.write(document("id: 1, vf: net_null2", "id: 3, vf: net_null3"))
    document_ = shell.json("plan", shell.file)
    jsonschema.Draft202012Validator.check_schema(PLAN_SCHEMA)
    jsonschema.validate(document_, PLAN_SCHEMA)
    assert document_["format_version"] == "1"
    (version,) = document_["engine"]
    assert (version["shard"], version["boot_id"], version["generation"]) == (0, shell.engine.boot_id, 7)
    assert [relay["id"] for relay in version["observed"]["relay"]] == [1, 2]
    assert document_["summary"] == {"add": 3, "change": 1, "remove": 3, "migrate": 0, "impact": "guest"}
    again = shell.json("plan", shell.file)
    assert {**again, "made": 0, "expires": 0} == {**document_, "made": 0, "expires": 0}


def test_a_kept_plan_is_applied_once(shell: Shell) -> None:
    kept = shell.directory / "today.plan"
    assert shell("plan", "-o", kept, shell.write(TWO)).returncode == 0
    jsonschema.validate(json.loads(kept.read_text()), PLAN_SCHEMA)
    shell.file.unlink()
    assert shell("apply", kept).returncode == 0
    assert set(shell.engine.state.relays) == {1, 2}
    done = shell("apply", kept)
    assert (done.returncode, "was made for generation 0" in done.stderr) == (1, True)
    shell.engine.restart()
    assert "started again since" in shell("apply", kept).stderr


def test_a_plan_of_another_version_or_a_broken_one_is_refused(shell: Shell) -> None:
    kept = shell.directory / "today.plan"
    kept.write_text('{"format_version": "2"}')
    assert "format version 2" in shell("apply", kept).stderr
    kept.write_text('{"format_version": "1"}')
    assert "no whole plan" in shell("apply", kept).stderr
    assert not is_plan('{"apiVersion": "vio4wd/v1", "relays": []}')
    assert not is_plan("{")
    with pytest.raises(PlanError, match="no pin"):
        parse_plan(json.dumps(_without_pin()), "x")


@pytest.mark.parametrize("content", [b"relays: []", b'{"relays": []}', b"[]", b"{", b"", b"\xb0{"])
def test_what_is_no_plan_is_not_shown_as_one(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "vio4wd.yaml"
    path.write_bytes(content)
    with pytest.raises(PlanError, match=r"vio4wd\.yaml: this is no plan; make one with: vio4wd plan -o FILE"):
        read_plan(path)


def _without_pin() -> dict[str, Any]:
    relay = {"id": 1, "port": "p", "socket": "/s"}
    change = {"action": "add", "kind": "relay", "resource": "relay:1", "relay": 1, "before": None, "after": relay}
    return {
        "format_version": "1",
        "spec": {"file": "f", "sha256": "0" * 64},
        "engine": [{"shard": 0, "boot_id": "b", "generation": 0}],
        "changes": [{**change, "impact": "none", "reason": "", "pin": None, "drift": False}],
        "summary": {},
    }


def test_a_relay_that_fails_is_said_and_the_rest_applied(shell: Shell) -> None:
    shell.engine.broken[Verb.ADD, "port:net_null2"] = "no-device"
    done = shell("apply", shell.write(TWO))
    assert done.returncode == 1
    assert "port:net_null2 is broken" in done.stdout
    assert set(shell.engine.state.relays) == {1}
    outcome = shell.json("apply", shell.file)
    assert [(r["relay"], r["applied"]) for r in outcome["relays"]] == [(1, True), (2, False)]
    assert shell.json("history")["applies"][0]["outcome"]["verdict"] == "failed"


def test_what_a_guard_holds_back_is_left_and_said_everywhere(shell: Shell) -> None:
    shell("apply", shell.write(TWO.replace("id: 2,", "id: 2, protect: true,")))
    shell.engine.guests.add("/tmp/virtio-forwarder1.sock")
    shell.write(document("id: 3, vf: net_null3"))
    planned = shell("plan", shell.file).stdout
    assert "Held back: relay:1 is left as it is: its guest is connected; " in planned
    assert "Held back: relay:2 is left as it is: it is protected (protect: true); " in planned
    plan = shell.json("plan", shell.file)
    jsonschema.validate(plan, PLAN_SCHEMA)
    assert ([each["allow"] for each in plan["held"]], plan["summary"]["remove"]) == (["relay:1", "relay:2"], 0)
    done = shell("apply", shell.file)
    assert (done.returncode, "vio4wd apply --allow-destroy relay:1 FILE" in done.stderr) == (1, True)
    assert set(shell.engine.state.relays) == {1, 2, 3}
    held = shell.json("history")["applies"][0]["outcome"]["held"]
    assert [each["resource"] for each in held] == ["relay:1", "relay:2"]
    done = shell("apply", "--allow-destroy", "relay:1", shell.file)
    assert (done.returncode, set(shell.engine.state.relays)) == (1, {2, 3})
    shell.file.write_text(shell.file.read_text() + "allow_destroy: [relay:2]\n")
    assert shell("apply", shell.file).returncode == 0
    assert set(shell.engine.state.relays) == {3}


def test_a_kept_plan_is_refused_when_a_guard_minds_by_now(shell: Shell) -> None:
    shell("apply", shell.write(TWO))
    kept = shell.directory / "today.plan"
    shell("plan", "-o", kept, shell.write(ONE))
    shell.engine.guests.add("/tmp/virtio-forwarder2.sock")
    done = shell("apply", kept)
    assert (done.returncode, "relay:2 may not go: its guest is connected" in done.stderr) == (1, True), done
    assert set(shell.engine.state.relays) == {1, 2}
    assert shell("apply", "--allow-destroy", "relay:2", kept).returncode == 0
    assert set(shell.engine.state.relays) == {1}


def test_a_new_process_is_waited_for_and_rebuilt(shell: Shell) -> None:
    shell("apply", shell.write(ONE))
    done = shell("apply", shell.write(document("id: 1, vf: net_null1", engine="worker_cpus: [0], main_cpu: 1")))
    if "does not exist on this host" in done.stderr:
        pytest.skip("a second CPU is missing")
    assert done.returncode == 0, done
    assert shell.engine.state.engine == Engine(main_cpu=1)
    assert set(shell.engine.state.relays) == {1}


def test_what_this_host_has_not_is_refused_with_a_sentence(shell: Shell) -> None:
    shell.write(document("id: 1, vf: net_null1", engine="worker_cpus: [1023]"))
    done = shell("apply", shell.file)
    assert (done.returncode, "CPU 1023" in done.stderr) == (1, True)
    assert shell.engine.executed == []


def test_an_engine_that_starts_is_waited_for(shell: Shell) -> None:
    shell.engine.ready = "starting"
    shell.write(ONE)
    assert shell("plan", shell.file).returncode == 1
    done = shell("apply", "--wait", "0.3", shell.file)
    assert (done.returncode, "waiting until it is ready" in done.stderr) == (1, True)


def test_status_stats_and_history(shell: Shell) -> None:
    shell("apply", shell.write(TWO))
    shell.engine.guests.add("/tmp/virtio-forwarder1.sock")
    status = shell.json("status")
    assert [(r["id"], r["condition"]) for r in status["relays"]] == [(1, "Ready"), (2, "Pending")]
    assert status["workers"][0]["slept"] == 0.93
    text = shell("status").stdout
    assert "93 %" in text
    assert "no guest is connected" in text
    assert "migrating" not in text
    shell.engine.migrating.add("/tmp/virtio-forwarder1.sock")
    assert [r["migrating"] for r in shell.json("status")["relays"]] == [True, False]
    assert "migrating" in shell("status").stdout
    assert set(shell.json("stats")["relays"]) == {"1", "2"}
    assert "VF to VM" in shell("stats").stdout
    assert shell("stats", "--interval", "0.01").returncode == 0
    assert "seconds" in shell.json("stats", "--interval", "0.01")
    assert "+ relay:2" in shell("history", "--limit", "1").stdout
    applied = shell.json("history", "--limit", "1")["applies"][0]
    assert (applied["source"], applied["outcome"]["verdict"]) == (str(shell.file), "applied")


def test_history_says_whose_a_relay_is(shell: Shell) -> None:
    with closing(Store(shell.directory / "state")) as store:
        put(store, "ovsdb", 7, {"vf": "net_null7"})
    shell("apply", shell.write(ONE))
    said = {change["resource"]: change["reason"] for change in shell.json("history", "show", "1")["plan"]["changes"]}
    assert "(owner: ovsdb)" in said["relay:7"]
    assert "owner" not in said["relay:1"]


def test_a_corrupt_database_does_not_stop_an_apply(shell: Shell) -> None:
    (shell.directory / "state").mkdir()
    (shell.directory / "state" / "vio4wd.db").write_bytes(b"broken" * 1000)
    done = shell("apply", shell.write(ONE))
    assert (done.returncode, "is renamed to vio4wd.db.unreadable-1" in done.stderr) == (0, True), done
    assert [row["outcome"]["verdict"] for row in shell.json("history")["applies"]] == ["applied"]


def test_light_commands_load_nothing_heavy() -> None:
    """What `vio4wd validate` may not wait for."""
    code = "import sys; from reconciler.cli import parser; parser(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numba", "numpy", "zmq", "rich", "jsonschema", "engine.process", "sqlite3"} & set(loaded)


def test_paused_and_resumed_by_hand(shell: Shell) -> None:
    assert "not paused" in shell("resume").stdout
    assert shell("pause", "the switch").returncode == 0
    assert ": the switch" in shell("status").stdout
    assert shell.json("status")["paused"]["reason"] == "the switch"
    assert shell("apply", shell.write(ONE)).returncode == 0, "by hand as ever"
    assert set(shell.engine.state.relays) == {1}
    assert shell.json("pause")["reason"] == ""
    assert "Resumed" in shell("resume").stdout
    assert shell.json("status")["paused"] is None


def test_diff_takes_directories_as_the_other_commands_do(alone: Shell) -> None:
    before = alone.directory / "relays.d"
    before.mkdir()
    (before / "one.yaml").write_text(ONE)
    done = alone("diff", before, alone.write(TWO))
    assert (done.returncode, "+ relay:2" in done.stdout, "relay:1" in done.stdout) == (0, True, False), done


HAMPERED = {
    "closed": 'exec "$@" >&-',
    "both closed": 'exec "$@" >&- 2>&-',
    "all closed": 'exec "$@" <&- >&- 2>&-',
    "full": 'exec "$@" >/dev/full 2>/dev/full',
    "nobody reads": '"$@" | :; exit ${PIPESTATUS[0]}',
    "no UTF-8": 'LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 exec "$@"',
}


@pytest.mark.parametrize("how", HAMPERED.values(), ids=HAMPERED)
def test_what_can_not_be_printed_does_not_decide_what_is_done(how: str, shell: Shell) -> None:
    """Two actions and more: one that ends at its first word would leave the rest."""
    file = shell.write(TWO + f"vhost_user: {{directory: {shell.directory}/küche}}\n")
    line = ["bash", "-c", how, "bash", *shell.command("apply", file)]
    done = subprocess.run(line, env=shell.environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done
    assert set(shell.engine.state.relays) == {1, 2}
    assert "kept in memory" not in done.stderr
    assert shell.json("history")["applies"][0]["outcome"]["verdict"] == "applied"


def test_a_reader_that_stops_to_read_does_not_hold_up_an_apply(shell: Shell) -> None:
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writes, b"#" * 512)
    os.set_blocking(writes, True)
    command = shell.command("apply", shell.write(TWO))
    with subprocess.Popen(command, env=shell.environment, stdout=writes, stderr=subprocess.DEVNULL) as process:
        os.close(writes)
        wait_for("the apply", lambda: shell.json("history")["applies"] and set(shell.engine.state.relays) == {1, 2})
        said = b""
        while more := os.read(reads, 65536):
            said += more
        assert process.wait(60) == 0
    os.close(reads)
    assert b"+ relay:1" in said
    assert b"Applied and verified" in said


@pytest.mark.parametrize(("how", "told"), [('exec "$@" >/dev/full', "No space left"), ('"$@" | :', "")])
def test_what_was_asked_for_and_could_not_be_said_is_an_error(how: str, told: str, shell: Shell) -> None:
    line = ["bash", "-c", f"set -o pipefail; {how}", "bash", *shell.command("status")]
    done = subprocess.run(line, env=shell.environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done
    assert told in done.stderr


@pytest.mark.parametrize("command", ["watch", "validate", "plan", "apply", "run"])
def test_a_path_that_is_not_utf_8_is_refused_in_a_sentence(command: str, shell: Shell) -> None:
    """Of which nothing could be kept in the state's database."""
    path = Path(os.fsdecode(os.fsencode(shell.directory) + b"/f\xfcr.yaml"))
    path.write_text(ONE)
    done = shell(command, path)
    assert done.returncode == 1
    assert "/f\\xfcr.yaml:1:1: this path is not UTF-8; rename the file or its directory" in done.stdout + done.stderr
