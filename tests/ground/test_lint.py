"""scripts/lint says no: each case plants one fault in a tree of a few files, which has nothing else to be found."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.kit.paths import ROOT

FAULTS = {
    "upwards": (
        {"reconciler/planning/plan.py": "import reconciler.watch.controller as above\n\nUSED = above\n"},
        "reconciler/planning/plan.py:1: imports reconciler.watch.controller, "
        "but reconciler.watch comes after reconciler.planning",
    ),
    "upwards in a function": (
        {"schema/rules/check.py": "def f() -> object:\n    from schema.loading import loader\n\n    return loader\n"},
        "schema/rules/check.py:2: imports schema.loading.loader, but schema.loading comes after schema.rules",
    ),
    "upwards for types": (
        {
            "state/store.py": "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n"
            "    from reconciler.watch.controller import X\n\n\ndef f(x: X) -> X:\n    return x\n"
        },
        "state/store.py:4: imports reconciler.watch.controller, but reconciler.watch comes after state",
    ),
    "the engine's inside": (
        {"reconciler/commands/status.py": "from engine.dpdk import layout\n\nUSED = layout\n"},
        "reconciler/commands/status.py:1: imports engine.dpdk.layout, but reconciler may not use it",
    ),
    "a circle": (
        {
            "reconciler/policy/one.py": "from reconciler.policy import two\n\nUSED = two\n",
            "reconciler/policy/two.py": "from reconciler.policy import one\n\nUSED = one\n",
        },
        "files import each other in a circle: reconciler.policy.one -> reconciler.policy.two -> reconciler.policy.one",
    ),
    "a room that has no place": (
        {"reconciler/cellar/wine.py": ""},
        "reconciler/cellar/wine.py: no room of scripts/house.py",
    ),
    "a retired word in a name": (
        {"state/store.py": "def _first_sighting() -> None: ...\n"},
        "state/store.py:1: 'sighting' is retired; it is called 'snapshot'",
    ),
    "a retired word in a document": (
        {"docs/plan.md": "# The plan\n\nKnots are cut greedily.\n"},
        "docs/plan.md:3: 'Knots' is retired; it is called 'circle, component of a graph'",
    ),
    "a retired word at the top": (
        {"README.md": "Doors for programs\n"},
        "README.md:1: 'Doors' is retired; it is called 'frontend'",
    ),
    "a retired phrase over the end of a line": (
        {"state/store.py": "# One process must let\n# go before another takes it.\n"},
        "state/store.py:1: 'let # go' is retired; it is called 'release, detach, remove'",
    ),
    "unformatted": ({"state/store.py": "X = {  }\n"}, "to format them: .venv/bin/ruff format"),
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What scripts/lint needs, and the files that the cases import."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts", ignore=shutil.ignore_patterns("bench*", "demo*"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / ".venv").symlink_to(Path(sys.prefix))
    plant(tmp_path, {"reconciler/watch/controller.py": "X = int\n", "engine/dpdk/layout.py": ""})
    plant(tmp_path, {"schema/loading/loader.py": "", "tests/nothing.py": ""})
    return tmp_path


def plant(tree: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(("files", "said"), FAULTS.values(), ids=FAULTS)
def test_a_planted_fault_is_found(tree: Path, files: dict[str, str], said: str) -> None:
    plant(tree, files)
    done = subprocess.run([tree / "scripts" / "lint"], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert said in done.stdout + done.stderr


@pytest.mark.parametrize("script", ["house.py", "words.py"])
def test_without_a_fault_nothing_is_said(tree: Path, script: str) -> None:
    done = subprocess.run([sys.executable, tree / "scripts" / script, tree], capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""


def test_what_runs_at_a_commit_is_what_lint_runs() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    entries = [hook["entry"] for hook in hooks if "stages" not in hook]
    lint = (ROOT / "scripts" / "lint").read_text()
    assert [entry for entry in entries if " ".join(entry.split()[1:4]) not in lint] == []
    assert len(entries) == 4
