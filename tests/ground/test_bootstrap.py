"""scripts/bootstrap: from anywhere, again and again, and on distributions that it does not know."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.kit.paths import ROOT

BOOTSTRAP = ROOT / "scripts" / "bootstrap"


def _run(command: list[str], cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=240, check=False)


def _on_another_distribution(tmp_path: Path, also: str = "true") -> subprocess.CompletedProcess[str]:
    """bootstrap as it runs where /etc/os-release names a system that nobody knows; `also` runs before it."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("root and unshare are missing")
    release = tmp_path / "os-release"
    release.write_text('ID=plan9\nVERSION_ID="4"\n')
    if _run(["unshare", "-m", "mount", "--bind", str(release), "/etc/os-release"]).returncode != 0:
        pytest.skip("leave to mount in a namespace of its own is missing")
    script = f"mount --bind {release} /etc/os-release && {also} && exec {BOOTSTRAP}"
    return _run(["unshare", "-m", "bash", "-c", script])


def test_a_second_run_only_says_that_all_is_ready(tmp_path: Path) -> None:
    done = _run([str(BOOTSTRAP)], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("bootstrap: ready (")
    assert "installing" not in done.stderr


def test_an_unknown_distribution_that_has_everything_is_welcome(tmp_path: Path) -> None:
    done = _on_another_distribution(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "bootstrap: ready" in done.stdout


def test_an_unknown_distribution_is_told_what_to_install(tmp_path: Path) -> None:
    hide = "for d in /usr/include/dpdk /usr/include/*/dpdk; do [ ! -d $d ] || mount -t tmpfs none $d || exit; done"
    done = _on_another_distribution(tmp_path, f"{{ {hide}; }}")
    assert done.returncode == 1
    assert "this is plan9 4; only Debian 12 is known here" in done.stderr
    assert "  - DPDK's headers" in done.stderr
    assert "libdpdk-dev" in done.stderr


def test_an_argument_that_it_does_not_know_is_refused_by_name() -> None:
    done = _run([str(BOOTSTRAP), "--labb"])
    assert done.returncode == 1
    assert "unknown argument '--labb'; it is scripts/bootstrap [--lab]" in done.stderr
