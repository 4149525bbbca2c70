"""The systemd units as systemd reads them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from reconciler.host.unit_paths import drop_in, main
from schema.rules.host_policy import Policy
from tests.kit.paths import ROOT

PACKAGING = ROOT / "packaging"
SERVICES = sorted(PACKAGING.glob("*.service"))


@pytest.mark.needs("systemd-analyze")
def test_systemd_finds_no_fault(tmp_path: Path) -> None:
    for path in PACKAGING.glob("vio4wd*.*"):
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


@pytest.mark.needs("systemd-analyze")
@pytest.mark.parametrize(
    ("unit", "exposure"), [("vio4wd-engine@.service", 3.1), ("vio4wd-watch.service", 5.2), ("vio4wd.service", 5.3)]
)
def test_a_unit_is_as_open_as_the_docs_say(unit: str, exposure: float) -> None:
    """As systemd 252 counts; others weigh a little differently."""
    threshold = f"--threshold={exposure * 10:.0f}"
    command = ["systemd-analyze", "security", "--offline=true", threshold, str(PACKAGING / unit)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout.splitlines()[-1:]
    row = f"| `{unit}` | {exposure} |"
    assert row in (PACKAGING.parent / "docs/security.md").read_text()


def test_an_engine_may_write_where_the_policy_has_sockets() -> None:
    policy = Policy(sockets=("/run", '/srv/two words/50%"'), file="/etc/vio4wd/host.policy")
    assert drop_in(policy).splitlines()[1:] == [
        "[Service]",
        'ReadWritePaths="-/run"',
        'ReadWritePaths="-/srv/two words/50%%\\""',
    ]
    assert drop_in(Policy()) == ""


def test_the_generator_writes_where_systemd_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "policy").write_text("apiVersion: vio4wd/v1\ndirectories: {sockets: [/srv/guests]}\n")
    monkeypatch.setenv("VIO4WD_POLICY", str(tmp_path / "policy"))
    assert main([str(tmp_path / name) for name in ("normal", "early", "late")]) == 0
    (written,) = tmp_path.rglob("*.conf")
    assert written == tmp_path / "normal/vio4wd-engine@.service.d/10-host-policy.conf"
    (tmp_path / "policy").chmod(0o666)
    assert main([str(tmp_path / "other")]) == 0, "a policy that can't be used stops no host"
    assert not (tmp_path / "other").exists()


def test_the_loop_can_be_restarted_without_the_engines() -> None:
    """Neither is bound to the other, and the directory of their sockets outlives both."""
    units = [(PACKAGING / name).read_text() for name in ("vio4wd-watch.service", "vio4wd-engine@.service")]
    for text in units:
        assert "RuntimeDirectoryPreserve=yes" in text
        assert not {"Requires=", "BindsTo=", "PartOf="} & {line.partition("=")[0] + "=" for line in text.splitlines()}
