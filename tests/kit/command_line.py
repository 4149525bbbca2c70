"""The command line as a person or a script meets it, against a fake engine on the real wire."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from state.applied import Pending, current_hold, current_pending
from state.store import Store
from tests.kit import command_server
from tests.kit.fakes.fake_engine import FakeEngine
from tests.kit.paths import ROOT
from tests.kit.report import report_json
from tests.kit.waiting import wait_for

PLAN_SCHEMA = json.loads((ROOT / "schema" / "plan.schema.json").read_text())
ESCAPE = "\x1b"


def document(*relays: str, engine: str = "worker_cpus: [0]") -> str:
    lines = "".join(f"  - {{{relay}}}\n" for relay in relays)
    return f"apiVersion: vio4wd/v1\nengine: {{{engine}}}\nrelays:" + (f"\n{lines}" if relays else " []\n")


ONE = document("id: 1, vf: net_null1")
TWO = document("id: 1, vf: net_null1", "id: 2, vf: net_null2")


class Shell:
    """Runs vio4wd with directories of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.file = directory / "vio4wd.yaml"
        self.run_dir = directory / "run"
        self.engine = FakeEngine()

    @property
    def environment(self) -> dict[str, str]:
        own = {
            "VIO4WD_RUN_DIR": str(self.run_dir),
            "VIO4WD_STATE_DIR": str(self.directory / "state"),
            "PYTHONPATH": str(ROOT),
        }
        return {**os.environ, **own}

    def command(self, *arguments: str | Path) -> list[str]:
        return [sys.executable, "-m", "reconciler", *(str(a) for a in arguments)]

    def popen(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """A command that goes on; to be ended by the test."""
        command, pipe = self.command(*arguments), subprocess.PIPE
        return subprocess.Popen(command, env=self.environment, cwd=self.directory, stdout=pipe, stderr=pipe, text=True)

    def __call__(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        done = command_server.run([str(each) for each in arguments], self.environment, self.directory, timeout_s=60.0)
        assert "Traceback" not in done.stderr, done.stderr
        assert ESCAPE not in done.stdout + done.stderr
        return done

    def json(self, *arguments: str | Path) -> Any:
        return json.loads(self(*arguments, "--json").stdout)

    def write(self, text: str) -> Path:
        self.file.write_text(text)
        return self.file


def looked(shell: Shell) -> tuple[Pending | None, bool]:
    """What is pending, and whether something is held."""
    store = Store(shell.directory / "state")
    found = current_pending(store), current_hold(store) is not None
    store.close()
    return found


def relays(shell: Shell) -> set[int]:
    return set(shell.engine.state.relays)


def watching(shell: Shell, *arguments: str | Path) -> subprocess.Popen[str]:
    """A watch that keeps what it is told."""
    command = shell.command("watch", *arguments)
    process = subprocess.Popen(command, env=shell.environment, stderr=subprocess.DEVNULL, text=True)
    wait_for("a watch", lambda: report_json(shell.run_dir).get("pid") == process.pid, 60.0)
    return process
