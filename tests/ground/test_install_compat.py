"""virtio-forwarder's command lines and unit under their old names, installed below a directory and taken away again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.kit.paths import ROOT

PLACES = ("usr/lib/virtio-forwarder", "usr/lib64/virtio-forwarder")
CLIENTS = ("port_control", "stats", "core_pinner", "monitor_load", "config")


def install(destination: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(ROOT / "packaging" / "install-compat"), *arguments]
    here = {**os.environ, "DESTDIR": str(destination)}
    return subprocess.run(command, env=here, capture_output=True, text=True, timeout=60, check=False)


def files(destination: Path) -> list[str]:
    return sorted(str(path.relative_to(destination)) for path in destination.rglob("*") if not path.is_dir())


def test_they_run_from_anywhere_and_leave_nothing(tmp_path: Path) -> None:
    for _ in range(2):  # the second time over its own
        done = install(tmp_path, sys.executable)
        assert (done.returncode, done.stderr) == (0, "")
    wanted = sorted(f"{place}/virtioforwarder_{client}.py" for place in PLACES for client in CLIENTS)
    assert files(tmp_path) == wanted
    for path in wanted:
        asked = [str(tmp_path / path), "--help"]
        before = time.monotonic()
        shown = subprocess.run(asked, cwd="/", env={}, capture_output=True, text=True, timeout=60, check=False)
        print(f"{path} --help took {time.monotonic() - before:.2f} s")
        assert shown.returncode == 0, shown.stderr
        assert shown.stdout.startswith(f"usage: {Path(path).name} ")
    assert install(tmp_path, "--remove").returncode == 0
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "usr", tmp_path / "usr/lib", tmp_path / "usr/lib64"]


def test_what_another_package_has_there_is_put_back(tmp_path: Path) -> None:
    theirs = tmp_path / PLACES[0] / "virtioforwarder_stats.py"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("theirs\n")
    for _ in range(2):
        assert install(tmp_path, sys.executable).returncode == 0
    assert "reconciler.legacy.clients.stats" in theirs.read_text()
    for _ in range(2):
        assert install(tmp_path, "--remove").returncode == 0
    assert files(tmp_path) == [f"{PLACES[0]}/virtioforwarder_stats.py"]
    assert theirs.read_text() == "theirs\n"


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("/bin/false", "/bin/false has no vio4wd"),
        ("python3", "PYTHON must be an absolute path"),
        ("/a b/python", "PYTHON must be an absolute path"),
        ("--rm", "unknown argument '--rm'"),
    ],
)
def test_what_would_not_run_is_not_installed(tmp_path: Path, argument: str, sentence: str) -> None:
    done = install(tmp_path, argument)
    assert (done.returncode, sentence in done.stderr) == (1, True), done.stderr
    assert files(tmp_path) == []


@pytest.mark.needs("systemctl")
def test_systemd_knows_the_service_by_its_old_name(tmp_path: Path) -> None:
    units = tmp_path / "etc/systemd/system"
    units.mkdir(parents=True)
    shutil.copy(ROOT / "packaging" / "vio4wd.service", units)
    command = ["systemctl", f"--root={tmp_path}"]
    subprocess.run([*command, "enable", "vio4wd"], check=True, capture_output=True, timeout=60)
    assert os.readlink(units / "virtio-forwarder.service") == "/etc/systemd/system/vio4wd.service"
    subprocess.run([*command, "disable", "vio4wd"], check=True, capture_output=True, timeout=60)
    assert not (units / "virtio-forwarder.service").is_symlink()
