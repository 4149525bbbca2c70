"""The systemd units as systemd reads them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

PACKAGING = Path(__file__).parents[2] / "packaging"
SERVICES = sorted(PACKAGING.glob("*.service"))


@pytest.mark.needs("systemd-analyze")
def test_systemd_finds_no_fault(tmp_path: Path) -> None:
    for path in PACKAGING.glob("vio4wd*"):
        text = path.read_text().replace("/opt/vio4wd/bin/vio4wd", shutil.which("true") or "")
        for name in [path.name] if "@" not in path.name else [path.name, *_instances(path.name)]:
            (tmp_path / name).write_text(text)
    names = [path.name for path in tmp_path.iterdir() if "@." not in path.name]
    command = ["systemd-analyze", "verify", "--man=no", *(f"./{name}" for name in names)]
    here = {"SYSTEMD_UNIT_PATH": f"{tmp_path}:"}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=here)
    assert done.returncode == 0, done.stderr
    assert "Unknown" not in done.stderr


def _instances(name: str) -> list[str]:
    return [name.replace("@", f"@{shard}") for shard in range(4)]


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_a_service_says_when_it_is_ready(path: Path) -> None:
    assert "\nType=notify\n" in path.read_text()


def test_the_loop_can_be_restarted_without_the_engines() -> None:
    """Neither is bound to the other, and the directory of their sockets outlives both."""
    units = [(PACKAGING / name).read_text() for name in ("vio4wd-watch.service", "vio4wd-engine@.service")]
    for text in units:
        assert "RuntimeDirectoryPreserve=yes" in text
        assert not {"Requires=", "BindsTo=", "PartOf="} & {line.partition("=")[0] + "=" for line in text.splitlines()}
