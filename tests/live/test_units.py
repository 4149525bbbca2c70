"""The shipped units, started by a real systemd (tests/lab/systemd-root): what they may not do is not missed, and what
they must not reach is not reached."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.kit.instance import Instance
from tests.kit.paths import ROOT, SHARED_CACHE
from tests.kit.spec_file import RelayLine

PACKAGING = ROOT / "packaging"

pytestmark = pytest.mark.needs("systemctl", "unshare")

SETTING = r"""
set -u
export PATH=/opt/vio4wd/bin:$PATH
until_true() { for _ in $(seq 240); do "$@" && return; sleep 0.5; done; echo "in vain: $*"; }
relay_is() { vio4wd status 2>/dev/null | grep -qE "^1 +\S+ +up .*$1"; }
peer() { PYTHONPATH=/opt/checkout /opt/checkout/.venv/bin/python -P - "$1" <<'P'
import sys
from tests.kit.guests.vhost_peer import Peer
with Peer(sys.argv[1]) as peer:
    peer.start()
    print("a guest connects")
P
}
install -D /opt/checkout/packaging/vio4wd-generator /etc/systemd/system-generators/vio4wd
mkdir -p /etc/vio4wd /srv/guests /var/cache/vio4wd
cp -r CACHE/. /var/cache/vio4wd
ip link add veth1 type veth peer name wire1
ip link set veth1 up; ip link set wire1 up
cat >/etc/vio4wd/vio4wd.yaml <<X
apiVersion: vio4wd/v1
engine: {worker_cpus: [1]}
vhost_user: {directory: /run/vio4wd/guests, owner: nobody}
hugepages: [{page_size: 2M, reserve: 64, mount: /run/huge}]
relays: [{id: 1, vf: "net_af_packet0,iface=veth1"}, {id: 2, vf: net_tap0}]
X
systemctl daemon-reload
"""

APART = r"""
systemctl start vio4wd-watch && echo "the watch is ready"
until_true relay_is 'no guest'
vio4wd status | grep -E '^[12] '
peer /run/vio4wd/guests/virtio-forwarder1.sock
grep -q ' /run/huge hugetlbfs ' /proc/self/mounts && echo "hugepages are mounted for everybody"
engine=$(systemctl show -P MainPID vio4wd-engine@0)
systemctl restart vio4wd-watch
[ $engine = "$(systemctl show -P MainPID vio4wd-engine@0)" ] && echo "the engine outlives the watch"
[ -z "$(nsenter -t $engine -m -- sh -c 'touch /etc/x /usr/x /srv/guests/x 2>/dev/null && echo written')" ] &&
    echo "the engine's file systems are read-only"
echo "engine: $(grep CapBnd /proc/$engine/status)"
sed -i 's#/run/vio4wd/guests#/srv/guests#' /etc/vio4wd/vio4wd.yaml
vio4wd plan | grep ReadWritePaths
printf 'apiVersion: vio4wd/v1\ndirectories: {sockets: [/run, /srv/guests]}\n' >/etc/vio4wd/host.policy
systemctl daemon-reload && systemctl restart vio4wd-engine@0
until_true test -S /srv/guests/virtio-forwarder1.sock
peer /srv/guests/virtio-forwarder1.sock
systemctl stop vio4wd-watch 'vio4wd-engine@*'
echo "ended: $(systemctl show -P Result vio4wd-watch) $(systemctl show -P Result vio4wd-engine@0)"
"""

TOGETHER = r"""
git init -q --bare -b main /srv/network.git && git clone -q /srv/network.git /srv/work 2>/dev/null
cd /srv/work && git checkout -q -b main
printf 'apiVersion: vio4wd/v1\nrelays: [{id: 3, vf: net_null3}]\n' >a.yaml && git add . &&
    git -c user.name=a -c user.email=a@example.com commit -qm 1 && git push -q origin main
cd / && printf 'sources:\n  - git: {url: /srv/network.git, interval_s: 5}\n' >>/etc/vio4wd/vio4wd.yaml
systemctl start vio4wd && echo "vio4wd is ready"
until_true relay_is 'no guest'
vio4wd status | grep -E '^[123] '
peer /run/vio4wd/guests/virtio-forwarder1.sock
systemctl reload vio4wd && echo "it reloads"
systemctl stop vio4wd
echo "ended: $(systemctl show -P Result vio4wd)"
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What becomes /etc/systemd/system. The loops are compiled before, where systemd finds them."""
    with Instance.relaying([RelayLine(1, "net_null0")]) as compiled:
        compiled.run()
    units = tmp_path_factory.mktemp("units")
    for unit in PACKAGING.glob("vio4wd*.*"):
        shutil.copy(unit, units)
    return units


def inside(units: Path, out: Path, script: str) -> str:
    """What the script prints under a systemd that has these units."""
    whole = SETTING.replace("CACHE", str(SHARED_CACHE)) + script
    line = [str(ROOT / "tests/lab/systemd-root"), "-t", "280", str(units), "bash", "-c", whole]
    done = subprocess.run(line, capture_output=True, text=True, env={**os.environ, "LAB_OUT": str(out)})
    files = sorted(out.glob("vio4wd*.log"))
    logs = "\n".join(f"{file.name}:\n{file.read_text(errors='replace')[-3000:]}" for file in files)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{logs}"
    return done.stdout


def test_the_loop_and_the_engines_apart(machine: Path, tmp_path: Path) -> None:
    said = inside(machine, tmp_path, APART)
    assert said.startswith("the watch is ready\n")
    assert "\n1      net_af_packet0" in said
    assert "\n2      net_tap0" in said
    assert said.count("a guest connects") == 2, said
    for line in ("hugepages are mounted for everybody", "the engine outlives the watch"):
        assert line in said
    assert "the engine's file systems are read-only" in said
    assert "ReadWritePaths=/srv/guests" in said, "a directory that the unit can't write is a problem of the plan"
    assert "ended: success success" in said
    assert "in vain" not in said


def test_all_in_one_service(machine: Path, tmp_path: Path) -> None:
    said = inside(machine, tmp_path, TOGETHER)
    assert said.startswith("vio4wd is ready\n")
    for relay in (1, 2, 3):
        assert f"\n{relay}      net_" in said
    assert "a guest connects" in said
    assert "it reloads" in said
    assert "ended: success" in said
    assert "in vain" not in said
