"""A watch that is steered by virtio-forwarder's own configuration file: saved, broken, cut off, emptied."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.apply.proposal import Intent, proposed
from reconciler.cli import main
from reconciler.desired.local import Local
from reconciler.desired.resolve import read_now
from reconciler.observe.engines import HostSnapshot
from reconciler.policy.claims import merge_requests, unfit
from reconciler.terminal import plan_text
from schema import SpecError, compose
from schema.rules.claims import of_spec
from state.relay_requests import RelayRequest, put
from state.store import Store
from tests.kit.fakes.fake_engine import Served
from tests.kit.fakes.table_host import TableHost
from tests.kit.fakes.watch_harness import WatchHarness
from tests.kit.spec_file import save

OURS = "VIRTIOFWD_CPU_MASK=1,2\nVIRTIOFWD_SOCKET_OWNER=\nVIRTIOFWD_SOCKET_GROUP=\n"


def static(*relays: int) -> str:
    """A configuration file with a static VF for each of these relays."""
    return OURS + f"VIRTIOFWD_STATIC_VFS=({' '.join(f'net_null{id_}={id_}' for id_ in relays)})\n"


@pytest.fixture
def site() -> Iterator[WatchHarness]:
    with tempfile.TemporaryDirectory(prefix="v4-") as name:
        made = WatchHarness(Path(name), Path(name, "virtioforwarder"))
        made.file.write_text(static(1, 2))
        with Served(made.engine, made.run_dir):
            made.start(defaults=True)
            try:
                made.until_relays(1, 2)
                yield made
            finally:
                made.stop()


def owners(site: WatchHarness) -> dict[str, str]:
    return {id_: relay["owner"] for id_, relay in site.report["in_force"]["relays"].items()}


def test_static_vfs_have_an_owner_of_their_own(site: WatchHarness) -> None:
    site.until("the owners", lambda: owners(site) == {"1": "static", "2": "static"})
    with contextlib.closing(Store(site.directory / "other")) as store:
        found = read_now(Local(site.file, defaults=True), TableHost(), store, print)
    intent = Intent("f", "0" * 64, found.target, owners=found.owners)
    lines = "\n".join(line for line, _ in plan_text.lines(proposed(intent, HostSnapshot(), TableHost()).saved))
    assert lines.count("the spec asks for it (owner: static)") == 2
    assert lines.count("vhost_user.template_sockets asks for it (owner: template)") == 62


def test_a_saved_file_is_in_force(site: WatchHarness) -> None:
    save(site.file, static(2, 3))
    site.until_relays(2, 3)
    site.until("the owners", lambda: owners(site) == {"2": "static", "3": "static"})
    save(site.file, OURS + "VIRTIOFWD_STATIC_VFS=\n")
    site.until_relays()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (OURS + "VIRTIOFWD_STATIC_VFS=(net_null1=1 net_", ":4:1: an array is opened and never closed"),
        (OURS + "VIRTIOFWD_STATIC_VFS=$(vfs)\n", ":4:1: an expansion stands here that only a shell can do"),
        (OURS + "VIRTIOFWD_STATIC_VFS=net_null1\n", ":4:1: VIRTIOFWD_STATIC_VFS: 'net_null1' is no <PCI>=<virtio_id>"),
        (static(1) + "VIRTIOFWD_SOCKET_DIR=/a/../b\n", ":5:1: VIRTIOFWD_SOCKET_DIR: '..' is not allowed in a path"),
        ("", ":1:1: no variable of virtio-forwarder's is set here; to relay nothing, write VIRTIOFWD_STATIC_VFS="),
        ("# all gone\n", ":1:1: no variable of virtio-forwarder's is set here"),
        (None, ":1:1: the file does not exist; check the path"),
    ],
)
def test_what_is_not_right_changes_nothing(site: WatchHarness, content: str | None, sentence: str) -> None:
    if content is None:
        site.file.unlink()
    else:
        save(site.file, content)
    assert f"{site.file}{sentence}" in site.until_refused()
    site.stop()
    site.start(defaults=True)
    site.until("what was in force", lambda: site.report["in_force"]["origin"] == "last-good")
    assert owners(site) == {"1": "static", "2": "static"}
    assert site.removed == []


def test_its_directories_and_endpoints_lie_where_it_says_without_a_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is the host's own file. Port control has the directory of its sockets besides those that everybody has."""
    monkeypatch.setenv("VIO4WD_POLICY", str(tmp_path / "none"))
    file, made = tmp_path / "virtioforwarder", tmp_path / "vio4wd.yaml"
    endpoints = "".join(
        f"VIRTIOFWD_ZMQ_{name}_EP=ipc:///var/lib/site/{name}\n"
        for name in ("PORT_CONTROL", "STATS", "CONFIG", "CORE_SCHED")
    )
    more = "VIRTIOFWD_SOCKET_DIR=/srv/guests\nVIRTIOFWD_DYNAMIC_SOCKETS=y\nVIO4WD_CORE_SCHED_ENABLE=true\n"
    file.write_text(static(1) + endpoints + more)
    assert main(["validate", "--defaults", str(file)]) == 0, capsys.readouterr().err
    assert main(["import", str(file), "-o", str(made)]) == 0
    assert main(["validate", str(made)]) == 0, capsys.readouterr().err
    for local in (Local(file, defaults=True), Local(made)):
        spec = compose([local.read(())])
        for socket, refused in (("/srv/guests/vhu1", False), ("/run/q/vhu1", False), ("/srv/others/vhu1", True)):
            why = unfit("port-control", 2, {"vf": "0000:05:08.1", "socket": socket}, spec)
            assert ("must lie below" in why) == refused, why


def test_what_this_host_can_not_have_is_said_of_the_variable(site: WatchHarness) -> None:
    save(site.file, static(1).replace("SOCKET_OWNER=", "SOCKET_OWNER=qemu"))
    said = f"{site.file}:2:1: VIRTIOFWD_SOCKET_OWNER: this host has no user 'qemu'; create it, name another, or set it"
    assert f"{said} to nothing" in site.until_refused()
    save(site.file, static(1).replace("MASK=1,2", "MASK=1,9"))
    said = f"{site.file}:1:1: VIRTIOFWD_CPU_MASK: CPU 9 does not exist on this host"
    site.until(said, lambda: said in site.until_refused())


def test_nobody_prunes_what_is_anothers(site: WatchHarness) -> None:
    with contextlib.closing(Store(site.directory / "state")) as store:
        put(store, "port-control", 5, {"vf": "net_null5"})
        put(store, "port-control", 6, {"vf": "net_null1"})
    save(site.file, static(1))
    site.until_relays(1, 5)
    site.until("the owners", lambda: owners(site) == {"1": "static", "5": "port-control"})
    assert "VF net_null1 belongs to relay 1 of static, which had it first" in str(site.report["in_force"]["left_out"])


def test_a_static_vf_that_comes_after_a_request_is_left_out() -> None:
    with tempfile.TemporaryDirectory() as name:
        file = Path(name, "virtioforwarder")
        file.write_text(static(1, 2))
        spec = compose([Local(file, defaults=True).read("host")])
    found = merge_requests(spec, [RelayRequest("ovsdb", 1, {"vf": "net_null7"}, 5.0)], {})
    assert dict(found.owners) == {1: "ovsdb", 2: "static"}
    assert str(found.left_out[0]).startswith("relay 1 of static is left out: ")
    assert "id 2" in found.claimed
    assert of_spec(spec.vhost_user, spec.relays[1]) <= found.claimed


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "virtioforwarder"
    file.write_text(static(1) + "VIRTIOFWD_ZERO_COPY=y\n")
    assert main(["validate", "--defaults", str(file)]) == 0
    said = capsys.readouterr().out
    assert f"{file}:5:1: VIRTIOFWD_ZERO_COPY: has no effect, since DPDK has dropped it (warning)" in said
    assert f"{file} is valid: 1 relay." in said
    file.write_text("VIRTIOFWD_LOG_LEVEL=9\nVIRTIOFWD_CPU_MASK=x\n")
    assert main(["validate", "--defaults", str(file)]) == 1
    said = capsys.readouterr().err
    assert f"{file}:1:1: VIRTIOFWD_LOG_LEVEL: 9 is no level from 0 to 7" in said
    assert f"{file}:2:1: VIRTIOFWD_CPU_MASK: 'x' is neither a list" in said
    with pytest.raises(SystemExit):
        main(["run", "vio4wd.yaml", "--defaults", str(file)])
    assert "not allowed with argument" in capsys.readouterr().err


def test_a_spec_is_no_configuration_file(tmp_path: Path) -> None:
    file = tmp_path / "vio4wd.yaml"
    file.write_text("apiVersion: vio4wd/v1\nrelays: []\n")
    with pytest.raises(SpecError, match="1:1: 'apiVersion:' is a command; only bash can tell"):
        Local(file, defaults=True).read("host")
