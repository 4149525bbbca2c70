"""Files and texts become specs, or say why not."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

import schema
from schema.loading.loader import MAX_FILE_BYTES
from schema.model import Port
from schema.spec import BondSpec, EngineSpec, HugepagesSpec, RelaySpec, Spec, VhostUserSpec, socket_path

DOCUMENT = """\
apiVersion: vio4wd/v1
engine: {main_cpu: 0, worker_cpus: [1, 2], idle: adaptive, log_level: info}
hugepages: [{mount: /dev/hugepages, page_size: 2M, reserve: 1375}]
vhost_user: {mode: server, directory: /tmp, name: virtio-forwarder%u.sock, owner: libvirt-qemu, group: kvm, permissions: "0660"}
relays:
  - {id: 1, vf: "0000:05:08.1", cpus: [1, 2]}        # first CPU VF to VM, second VM to VF; one: both; none: placed
  - {id: 2, vf: 0000:05:08.2, socket: /run/vm2.sock}  # unquoted must work
  - {id: 3, bond: {name: net_bonding0, mode: active-backup, members: ["0000:05:09.0", "0000:05:0a.0"]}}
"""  # noqa: E501 - one document as people write it


def test_one_document_with_everything() -> None:
    spec = schema.parse(DOCUMENT, "f")
    assert spec.engine == EngineSpec()
    assert spec.vhost_user == VhostUserSpec(owner="libvirt-qemu", group="kvm")
    assert spec.hugepages == (HugepagesSpec("/dev/hugepages", "2M", 1375),)
    members = (Port("0000:05:09.0"), Port("0000:05:0a.0"))
    assert spec.relays == (
        RelaySpec(1, Port("0000:05:08.1"), cpus=(1, 2)),
        RelaySpec(2, Port("0000:05:08.2"), socket="/run/vm2.sock"),
        RelaySpec(3, bond=BondSpec("net_bonding0", members)),
    )
    assert spec.text == DOCUMENT
    assert spec.sha256 == hashlib.sha256(DOCUMENT.encode()).hexdigest()
    assert not spec.warnings


@pytest.mark.parametrize("more", ["", "relays: []\n", "engine: {}\nvhost_user: {}\nhugepages: []\nrelays: []\n"])
def test_nothing_to_relay_is_a_spec_of_defaults(more: str) -> None:
    spec = schema.parse(f"apiVersion: vio4wd/v1\n{more}", "f")
    assert (spec.engine, spec.vhost_user, spec.relays, spec.hugepages) == (EngineSpec(), VhostUserSpec(), (), ())
    assert spec.warnings == ()


def test_a_shared_main_cpu_is_a_warning_when_idle_workers_sleep() -> None:
    spec = schema.parse("apiVersion: vio4wd/v1\nengine: {worker_cpus: [0, 1]}\n", "f")
    assert [str(problem) for problem in spec.warnings] == [
        "f:2:23: engine.worker_cpus: CPU 0 is engine.main_cpu and in engine.worker_cpus (by default); "
        "they share its time; give it another CPU for full speed"
    ]


def _relay(text: str, vhost_user: str = "") -> tuple[Spec, RelaySpec]:
    spec = schema.parse(f"apiVersion: vio4wd/v1\nvhost_user: {{{vhost_user}}}\nrelays:\n  - {{{text}}}\n", "f")
    return spec, spec.relays[0]


def test_one_cpu_polls_both_directions() -> None:
    assert _relay("id: 1, vf: 05:08.1, cpus: [2]")[1].cpus == (2, 2)


def test_virtual_devices_keep_their_arguments() -> None:
    _, relay = _relay('id: 1, vf: "net_af_packet0,iface=veth1"')
    assert relay.vf == Port("net_af_packet0", "iface=veth1")


@pytest.mark.parametrize(
    ("relay", "vhost_user", "path"),
    [
        ("id: 1", "", "/tmp/virtio-forwarder1.sock"),
        ("id: 42", "directory: //run/./guests/, name: vm%u", "/run/guests/vm42"),
        ("id: 5", "directory: /", "/virtio-forwarder5.sock"),
        ("id: 1, socket: null", "", "/tmp/virtio-forwarder1.sock"),
        ("id: 1, socket: /run//vm.sock", "directory: /x", "/run/vm.sock"),
    ],
)
def test_the_socket_of_a_relay(relay: str, vhost_user: str, path: str) -> None:
    spec, found = _relay(f"{relay}, vf: 05:08.1", vhost_user)
    assert socket_path(spec.vhost_user, found) == path


def test_a_socket_path_of_107_bytes_fits() -> None:
    path = "/run/" + "ü" * 51
    assert _relay(f"id: 1, vf: 05:08.1, socket: {path}")[1].socket == path
    with pytest.raises(schema.SpecError, match="has 109 bytes, and 107 fit"):
        _relay(f"id: 1, vf: 05:08.1, socket: {path}ü")


@pytest.mark.parametrize(("text", "mode"), [("0660", 0o660), ("600", 0o600), ("0777", 0o777)])
def test_permissions_are_octal(text: str, mode: int) -> None:
    spec = schema.parse(f'apiVersion: vio4wd/v1\nvhost_user: {{permissions: "{text}"}}\n', "f")
    assert spec.vhost_user.permissions == mode


def test_a_spec_is_loaded_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "vio4wd.yaml"
    path.write_text(DOCUMENT.replace("main_cpu: 0", "main_cpu: 1"), encoding="utf-8")
    spec = schema.load(path)
    assert spec.relays == schema.parse(DOCUMENT, "f").relays
    assert spec.warnings[0].file == str(path)


def test_a_byte_order_mark_is_no_matter(tmp_path: Path) -> None:
    path = tmp_path / "vio4wd.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + DOCUMENT.encode())
    assert len(schema.load(path).relays) == 3


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real.yaml").write_text(DOCUMENT, encoding="utf-8")
    (tmp_path / "vio4wd.yaml").symlink_to("real.yaml")
    assert len(schema.load(tmp_path / "vio4wd.yaml").relays) == 3


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing.yaml", "does not exist"),
        ("file.yaml/below", "does not exist"),
        ("directory", "is no regular file"),
        ("fifo", "is no regular file"),
        ("loop", "never ends"),
        ("large.yaml", "larger than 1,048,576 bytes"),
        ("x" * 300, "cannot be read"),
        ("zero\0byte", "zero byte"),
    ],
)
def test_a_file_that_cannot_be_read_is_said_at_line_1(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "file.yaml").touch()
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "large.yaml").write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    with pytest.raises(schema.SpecError) as caught:
        schema.load(tmp_path / name)
    (problem,) = caught.value.problems
    assert (problem.line, problem.column, problem.path) == (1, 1, "")
    assert words in problem.message


def test_a_file_that_may_not_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")  # root may read everything, so the file cannot show it

    path = tmp_path / "vio4wd.yaml"
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(schema.SpecError, match="may not be read by this user"):
        schema.load(path)


def test_all_problems_are_said_in_the_order_of_the_file() -> None:
    text = "relays:\n  - {id: 99, vf: x}\n  - {id: a, id: b}\nextra: 1\n"
    with pytest.raises(schema.SpecError) as caught:
        schema.parse(text, "f")
    places = [(problem.line, problem.path) for problem in caught.value.problems]
    assert places == [
        (1, ""),
        (2, "relays[0].id"),
        (2, "relays[0].vf"),
        (3, "relays[1]"),
        (3, "relays[1].id"),
        (3, "relays[1].id"),
        (4, "extra"),
    ]


def test_an_error_without_a_problem_is_none() -> None:
    with pytest.raises(ValueError, match="at least one"):
        schema.SpecError([])
