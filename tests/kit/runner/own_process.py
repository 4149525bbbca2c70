"""Runs a file of tests in a process of its own: there, DPDK's functions can be replaced by fakes of compiled code.

Symbols belong to a process, so a fake given to the burst loops would stay in every other test of the same run.
"""

from __future__ import annotations

import ast
import functools
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from pathlib import Path

import pytest

from engine.dpdk import library
from tests.kit.paths import ROOT, SHARED_CACHE

ISOLATED = ROOT / "tests" / "engine" / "burst" / "isolated"
TIMEOUT_S = 280


def names(file: str) -> list[str]:
    """The tests in a file of tests/engine/burst/isolated."""
    tree = ast.parse((ISOLATED / file).read_text())
    return [node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]


def check(file: str, name: str) -> None:
    """Passes, fails or skips as that test did; the file is run once for all of its tests."""
    require_dpdk()
    outcomes, said = _run(file)
    outcome = outcomes.get(name)
    if outcome is None:
        pytest.fail(f"{name} came to no end in a process of its own:\n{said[-6000:]}", pytrace=False)
    failed, skipped = outcome
    if failed:
        pytest.fail(f"{failed}\n{said[-3000:]}", pytrace=False)
    if skipped:
        pytest.skip(skipped)


def require_dpdk() -> None:
    """Skips the test where DPDK is not installed."""
    try:
        library.load()
    except library.DpdkMissingError as error:
        pytest.skip(f"needs DPDK's libraries ({error})")


def environment() -> dict[str, str]:
    """A process's own that imports the project and keeps what it compiles where the test kit does."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "VIO4WD_CACHE_DIR": str(SHARED_CACHE)}


@functools.cache
def _run(file: str) -> tuple[dict[str, tuple[str, str]], str]:
    """For each test how it failed and why it was skipped, empty if it did not; and all that was said."""
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "report.xml"
        path = ISOLATED / file
        line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junit-xml={report}", str(path)]
        try:
            done = subprocess.run(
                line, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            return {}, f"no end after {TIMEOUT_S} s: {error.stdout!r}"
        return (_outcomes(report) if report.exists() else {}), done.stdout + done.stderr


def _outcomes(report: Path) -> dict[str, tuple[str, str]]:
    found: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for case in ElementTree.parse(report).iter("testcase"):
        name = str(case.get("name")).split("[")[0]
        failures = [str(part.text) for kind in ("failure", "error") for part in case.iter(kind)]
        skips = [str(part.get("message")) for part in case.iter("skipped")]
        found[name].append(("\n".join(failures), "\n".join(skips)))
    return {name: ("".join(f for f, _ in each), "".join(s for _, s in each)) for name, each in found.items()}
