"""What plan, show, diff, rollback and validate say and read, as a person or a script meets them."""

from __future__ import annotations

import json
import subprocess
from contextlib import closing

import jsonschema

from state.relay_requests import put
from state.store import Store
from tests.kit.command_line import ONE, PLAN_SCHEMA, TWO, Shell, document

SMALL_BURSTS = "main_cpu: 0, burst: 16, worker_cpus: [0]"
"""Which takes a new process."""


def test_validate_reads_standard_input_and_pipes(alone: Shell) -> None:
    def validated(text: str, *arguments: str) -> tuple[int, str, str]:
        command = alone.command("validate", *arguments, "-")
        done = subprocess.run(command, env=alone.environment, input=text, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout, done.stderr

    code, out, _ = validated(ONE)
    assert (code, out.splitlines()[-1]) == (0, "<stdin> is valid: 1 relay.")
    code, _, said = validated(ONE.replace("net_null1", "nonsense"))
    assert (code, said.startswith("<stdin>:4:")) == (1, True), said
    code, out, _ = validated("", "--json")
    assert (code, json.loads(out)["problems"][0]["file"]) == (1, "<stdin>")
    done = shell_line(alone, f"{vio4wd(alone)} validate <(cat {alone.write(ONE)})")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "/dev/fd/63 is valid: 1 relay.")


def vio4wd(shell: Shell) -> str:
    return " ".join(shell.command())


def shell_line(shell: Shell, line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", line], env=shell.environment, cwd=shell.directory, capture_output=True, text=True, timeout=60
    )


def test_what_comes_through_a_pipe_is_planned_kept_shown_and_applied(shell: Shell) -> None:
    shell.write(ONE)
    planned = shell_line(shell, f"cat {shell.file} | {vio4wd(shell)} plan --json -o kept.plan -")
    assert json.loads(planned.stdout)["spec"]["file"] == "<stdin>", planned
    assert "of <stdin>" in shell_line(shell, f"{vio4wd(shell)} show <(cat kept.plan)").stdout
    assert shell_line(shell, f"{vio4wd(shell)} apply <(cat kept.plan)").returncode == 0
    assert set(shell.engine.state.relays) == {1}
    done = shell_line(shell, f"{vio4wd(shell)} apply - <<'end'\n{TWO}end")
    assert (done.returncode, set(shell.engine.state.relays)) == (0, {1, 2}), done


def test_diff_shows_owners_that_this_host_has_not_by_name(alone: Shell) -> None:
    alone.write(ONE)
    other = "vhost_user: {owner: nobody-here-4, group: kein-kvm}\n"
    done = shell_line(alone, f"{vio4wd(alone)} diff {alone.file} <(cat {alone.file}; echo '{other}')")
    assert (done.returncode, "uid 0 -> nobody-here-4, gid 0 -> kein-kvm" in done.stdout) == (0, True), done
    line = f"{vio4wd(alone)} diff --json <(echo '{other}'; cat {alone.file}) {alone.file}"
    (change,) = json.loads(shell_line(alone, line).stdout)["changes"]
    assert (change["before"]["uid"], change["before"]["gid"]) == ("nobody-here-4", "kein-kvm")


def test_a_plan_with_a_new_process_shows_what_follows_and_carries_it_out_when_kept(shell: Shell) -> None:
    shell.write(document("id: 1, vf: net_null1", "id: 2, vf: net_null2", "id: 3, vf: net_null3"))
    assert shell("apply", shell.file).returncode == 0
    shell.write(document("id: 1, vf: net_null1", "id: 2, vf: net_null4", engine=SMALL_BURSTS))
    kept = shell.directory / "kept.plan"
    planned = shell.json("plan", "-o", kept, shell.file)
    jsonschema.validate(planned, PLAN_SCHEMA)
    assert [change["resource"] for change in planned["changes"]] == ["engine:0"]
    followed = [f"{each['action']} {each['resource']}" for each in planned["follows"]]
    assert [each for each in followed if "relay:" in each] == ["remove relay:3", "add relay:1", "add relay:2"]
    assert (planned["summary"]["remove"], planned["summary"]["impact"]) == (4, "host")
    for shown in (shell("plan", shell.file).stdout, shell("show", kept).stdout):
        assert "After that, on the new process:" in shown
        assert "VF net_null2 -> net_null4" in shown
    assert shell("apply", kept).returncode == 0
    assert {relay.id: relay.port for relay in shell.engine.state.relays.values()} == {1: "net_null1", 2: "net_null4"}
    assert shell("plan", "--detailed-exitcode", shell.file).returncode == 0


def test_guards_count_what_follows_a_new_process(shell: Shell) -> None:
    shell.write(document("id: 1, vf: net_null1", "id: 2, vf: net_null2"))
    assert shell("apply", shell.file).returncode == 0
    shell.engine.guests = {relay.socket for relay in shell.engine.state.relays.values()}
    shell.write(document("id: 1, vf: net_null1", engine=SMALL_BURSTS))
    planned = shell.json("plan", shell.file)
    assert [each["resource"] for each in planned["held"]] == ["engine:0", "relay:2"]
    assert planned["changes"] == planned["follows"] == []


def test_a_rollback_says_whose_the_relays_are(shell: Shell) -> None:
    with closing(Store(shell.directory / "state")) as store:
        put(store, "ovsdb", 2, {"vf": "net_null2"})
    for engine in ("worker_cpus: [0]", SMALL_BURSTS):
        shell.write(document("id: 1, vf: net_null1", engine=engine))
        assert shell("apply", shell.file).returncode == 0
    assert shell("apply", shell.file).returncode == 0
    shown = shell("rollback").stdout
    assert "it ends with the engine; the new one has it again (owner: ovsdb)" in shown
    assert shell("rollback", "--yes").returncode == 0
    assert (shell.engine.state.engine.burst, set(shell.engine.state.relays)) == (32, {1, 2})
