"""How scripts/test runs what: no folder is left out, no failure is lost, and --quick does without Numba."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scripts import parts
from tests.kit.paths import ROOT

ELSEWHERE = {"tests/lab", "tests/sriov"}
"""Scripts, and what runs in an emulated machine."""


def test_every_folder_is_in_a_part() -> None:
    named = [path for _, paths in (parts.UNITS, parts.LIVE, parts.WAITING, parts.HUGEPAGES) for path in paths]
    folders = {str(path.parent.relative_to(ROOT)) for path in (ROOT / "tests").glob("*/*")}
    folders = {folder for folder in folders if "__pycache__" not in folder}
    assert {path for path in named if "." not in path} == folders - ELSEWHERE
    files = {path for path in named if path.endswith(".py") and not path.startswith("-")}
    assert files == {path.removeprefix("--ignore=") for path in named if path.startswith("-")}
    assert all((ROOT / path).is_file() for path in files)


def test_parts_that_fail_or_skip_are_in_the_closing_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "test_good.py").write_text(
        "import pytest\ndef test_a(): pass\n@pytest.mark.skip(reason='needs two moons')\ndef test_b(): pass\n"
    )
    (tmp_path / "test_bad.py").write_text("def test_a(): pass\ndef test_b(): assert not 'a reason'\n")
    done = parts.wait(
        [parts.Part(name, [str(tmp_path / f"test_{name}.py"), "-ptests.kit.runner.plugin"]) for name in ("good", "bad")]
    )
    assert {part.name: part.failed for part in done} == {"good": False, "bad": True}
    assert "AssertionError: assert not 'a reason'" in capsys.readouterr().out
    said = parts.summary(done, 61.5).splitlines()
    assert said[-1].strip("=") == " 1 failed, 2 passed, 1 skipped in 61.50s (0:01:02) "
    assert said[-3:-1] == ["skipped: 1", "  1 x needs two moons"]


def test_quick_imports_no_numba() -> None:
    line = ["scripts/test", "--quick", "--collect-only", "-q"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert "tests/schema/" in done.stdout
    assert "tests/reconciler/planning/" in done.stdout


def test_under_quick_an_import_of_numba_is_an_error_that_says_so(tmp_path: Path) -> None:
    file = tmp_path / "test_planted.py"
    file.write_text("from engine.burst.compiled import intrinsics\ndef test_a(): assert intrinsics\n")
    line = [sys.executable, "-m", "pytest", "-p", "tests.kit.runner.without_numba", str(file)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode != 0
    assert "is imported, which what --quick runs must do without" in done.stdout
