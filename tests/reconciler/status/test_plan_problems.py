"""What will not work on this host is in the plan, before anything is tried."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket as unix
import subprocess
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest

from reconciler.status.namespace_view import View
from schema.model import Port, Socket
from tests.kit import cleanup
from tests.kit.command_line import PLAN_SCHEMA, Shell, document

MISSING_PCI = document('id: 1, vf: "0000:fe:1f.7"')
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """A process for which a directory is read-only, as a unit's ReadWritePaths leave it, and that directory."""
    place = tmp_path / "sockets"
    place.mkdir()
    script = f"mount --bind {place} {place} && mount -o remount,bind,ro {place} && echo ready && exec sleep 60"
    process = subprocess.Popen(["unshare", "--mount", "sh", "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process.pid, place
    finally:
        process.kill()
        process.communicate()


def problems(shell: Shell, text: str) -> dict[str, str]:
    shell.write(text)
    found = shell.json("plan", shell.file)
    jsonschema.validate(found, PLAN_SCHEMA)
    return {each["resource"]: each["problem"] for each in found["problems"]}


def test_a_plan_without_problems_says_none(shell: Shell) -> None:
    assert problems(shell, document("id: 1, vf: net_null1")) == {}
    assert "will not work" not in shell("plan", shell.file).stdout


@pytest.mark.parametrize(
    ("text", "resource", "words"),
    [
        (MISSING_PCI, "relay:1", "this host has no PCI function 0000:fe:1f.7"),
        (document('id: 2, vf: "net_af_packet0,iface=nosuch0"'), "relay:2", "no network interface 'nosuch0'"),
        (document("id: 1, vf: net_null1", engine="worker_cpus: [1023]"), "spec", "CPU 1023"),
        (document("id: 1, vf: net_null1") + "vhost_user: {owner: nobody-here-4}\n", "spec", "no user 'nobody-here-4'"),
    ],
    ids=["pci", "interface", "cpu", "user"],
)
def test_what_is_missing_is_a_problem_of_the_plan(shell: Shell, text: str, resource: str, words: str) -> None:
    assert words in problems(shell, text)[resource]
    done = shell("plan", "--detailed-exitcode", shell.file)
    assert (done.returncode, words in done.stdout, done.stderr) == (1, True, "")
    assert shell("plan", shell.file).returncode == 0
    kept = shell.directory / "kept.plan"
    shell("plan", "-o", kept, shell.file)
    assert words in shell("show", kept).stdout
    assert "nobody-here-4" in shell("plan", shell.file).stdout or "nobody" not in text


def test_a_bond_of_a_missing_interface(shell: Shell) -> None:
    members = '["net_af_packet0,iface=lo", "net_af_packet1,iface=nosuch1"]'
    text = document(f"id: 3, bond: {{name: net_bonding0, mode: active-backup, members: {members}}}")
    assert "'nosuch1', which net_af_packet1 names" in problems(shell, text)["relay:3"]


def test_what_lies_in_the_way_of_a_socket(shell: Shell) -> None:
    place = shell.directory / "guests"
    place.mkdir()
    text = document("id: 1, vf: net_null1", "id: 2, vf: net_null2") + f"vhost_user: {{directory: {place}, name: v%u}}\n"
    (place / "v1").write_text("not yours")
    with unix.socket(unix.AF_UNIX) as other:
        other.bind(str(place / "v2"))
        other.listen()
        found = problems(shell, text)
    assert "exists and is no socket" in found["relay:1"]
    assert "another process listens" in found["relay:2"]
    (place / "v1").unlink()
    assert problems(shell, text) == {}  # a socket that nobody serves any more is no obstacle


def test_a_directory_that_is_none(shell: Shell) -> None:
    place = shell.directory
    (place / "file").write_text("")
    text = document("id: 1, vf: net_null1") + f"vhost_user: {{directory: {place}/file/deep, name: v%u}}\n"
    assert f"{place}/file is no directory" in problems(shell, text)["relay:1"]


def test_what_lies_in_the_way_of_an_endpoint(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "endpoint").write_text("not yours")
    text = document("id: 1, vf: net_null1") + f'port_control: {{zmq: {{endpoint: "ipc://{tmp_path}/endpoint"}}}}\n'
    assert "exists and is no socket" in problems(shell, text)["port_control.zmq"]


def test_what_is_live_and_broken_is_said_where_nothing_is_to_be_done(shell: Shell) -> None:
    shell.write(document("id: 1, vf: net_null1"))
    assert shell("apply", shell.file).returncode == 0
    shell.engine.lost = {"net_null1"}
    done = shell("plan", "--detailed-exitcode", shell.file)
    assert done.returncode == 1
    assert "Nothing is to be done." in done.stdout
    assert "relay:1: net_null1 is gone; it is used again when it is back" in done.stdout


@ROOT
def test_a_directory_that_is_read_only_for_the_engine_alone(read_only: tuple[int, Path]) -> None:
    pid, place = read_only
    socket = Socket(f"{place}/deeper/v1")
    assert View(None).socket_refused(socket, ours=False) == ""
    why = View(pid).socket_refused(socket, ours=False)
    assert why.startswith(f"{place} is read-only for the engine")
    assert why.endswith(f"ReadWritePaths={place}/deeper")
    assert View(pid).socket_refused(Socket(f"{place}/v1", "client"), ours=False) == ""


def test_a_name_with_line_ends_is_taken_for_no_row_of_the_kernels_table() -> None:
    """Anybody may make a socket of such a name."""
    directory = cleanup.short_directory()
    stale = directory / "v1"
    with contextlib.closing(unix.socket(unix.AF_UNIX)) as old:
        old.bind(str(stale))
    crafted = Path(f"{directory}/x\n1 2 3 zz 5 6 7 {stale}")
    crafted.parent.mkdir(parents=True)
    with contextlib.closing(unix.socket(unix.AF_UNIX)) as made:
        made.bind(str(crafted))
        assert View(None).socket_refused(Socket(str(stale)), ours=False) == ""
    shutil.rmtree(directory)


def test_an_engine_that_ends_while_it_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    view = View(os.getpid())
    monkeypatch.setattr(view, "_root", Path("/proc/4194304/root"))  # as if it had ended since: no process has this id
    assert view.unwritable(Path("/proc/4194304/root/run/v1")) == ""


def test_an_interface_is_looked_for_where_the_engine_is() -> None:
    assert View(None).interface_missing(Port("net_af_packet0", "iface=lo")) == ""
    assert View(os.getpid()).interface_missing(Port("net_null0")) == ""
