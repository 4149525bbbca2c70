"""The exit code of each command, and JSON whatever happens: the tables of docs/cli.md."""

from __future__ import annotations

import json
import re

import pytest

from reconciler.cli import main
from reconciler.commands import COMMANDS
from schema.model import Verb
from tests.kit.command_line import ONE, TWO, Shell, document
from tests.kit.paths import ROOT

GUIDE = ROOT / "docs" / "cli.md"
MISSING_VF = document('id: 1, vf: "0000:fe:1f.7"')
BROKEN = "relays: 7\n"


def prepared(shell: Shell) -> None:
    """An engine with relay 1; files that say so, say more, what this host lacks, and nonsense."""
    shell.write(ONE)
    for name, text in (("two", TWO), ("lost", MISSING_VF), ("bad", BROKEN)):
        (shell.directory / f"{name}.yaml").write_text(text)
    assert shell("apply", shell.file).returncode == 0


WITH_AN_ENGINE = [
    ("validate vio4wd.yaml", 0),
    ("validate bad.yaml", 1),
    ("plan vio4wd.yaml", 0),
    ("plan two.yaml", 0),
    ("plan lost.yaml", 0),
    ("plan bad.yaml", 1),
    ("plan --detailed-exitcode vio4wd.yaml", 0),
    ("plan --detailed-exitcode two.yaml", 2),
    ("plan --detailed-exitcode lost.yaml", 1),
    ("plan --detailed-exitcode bad.yaml", 1),
    ("diff vio4wd.yaml two.yaml", 0),
    ("diff --detailed-exitcode vio4wd.yaml vio4wd.yaml", 0),
    ("diff --detailed-exitcode vio4wd.yaml two.yaml", 2),
    ("diff vio4wd.yaml bad.yaml", 1),
    ("show vio4wd.yaml", 1),
    ("apply vio4wd.yaml", 0),
    ("apply bad.yaml", 1),
    ("status", 0),
    ("stats", 0),
    ("history", 0),
    ("history show 1", 0),
    ("history show 77", 1),
    ("rollback", 1),
    ("explain relays.cpus", 0),
    ("explain nosuch", 1),
    ("pause why", 0),
    ("resume", 0),
]
WITHOUT = [("plan vio4wd.yaml", 1), ("apply vio4wd.yaml", 1), ("status", 1), ("stats", 1), ("rollback", 1)]
NO_JSON = [("confirm", 1), ("sync", 1), ("edit missing.yaml", 1), ("import missing", 1), ("completion bash", 0)]


@pytest.fixture
def here(alone: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands in this process are as those in the shell: so many would take long to start."""
    monkeypatch.chdir(alone.directory)
    for name in ("VIO4WD_RUN_DIR", "VIO4WD_STATE_DIR"):
        monkeypatch.setenv(name, alone.environment[name])


@pytest.mark.usefixtures("here")
def test_with_an_engine(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    prepared(shell)
    for line, code in WITH_AN_ENGINE:
        capsys.readouterr()
        assert main([*line.split(), "--json"]) == code, line
        report = json.loads(capsys.readouterr().out)
        said = isinstance(report, dict) and (report.get("error") or report.get("problems"))
        assert said or code != 1, (line, report)
    for line, code in NO_JSON:
        assert main(line.split()) == code, line


@pytest.mark.usefixtures("here")
def test_without_an_engine(alone: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    alone.write(ONE)
    for line, code in WITHOUT:
        capsys.readouterr()
        assert main([*line.split(), "--json"]) == code, line
        assert json.loads(capsys.readouterr().out), line


@pytest.mark.parametrize("options", [(), ("--on-error=rollback",)])
def test_an_apply_that_does_not_work_is_1(shell: Shell, options: tuple[str, ...]) -> None:
    prepared(shell)
    shell.engine.broken[Verb.ADD, "relay:2"] = "failed"
    done = shell("apply", *options, "two.yaml", "--json")
    assert (done.returncode, json.loads(done.stdout)["verdict"]) == (1, "failed")


def test_every_command_stands_in_the_guide() -> None:
    text = GUIDE.read_text()
    rows = re.findall(r"(?m)^\| (`[^|]*) \|", text.partition("By command")[2].partition("##")[0])
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named >= {command.NAME for command in COMMANDS} - {"completion"}
