"""virtio-forwarder's configuration file, imported: files as sites have them, with the specs that they become."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import schema
from reconciler.cli import main
from reconciler.legacy.defaults import imported
from reconciler.legacy.variables import IGNORED, TAKEN
from schema import Spec, SpecError
from tests.kit.fakes.table_host import TableHost

CORPUS = sorted((Path(__file__).parent / "defaults").glob("*.txt"))
"""Files of sites; each has its spec beside it, or the sentence by which it is refused."""
NAME = "/etc/default/virtioforwarder"


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> TableHost:
    """Whose accounts count here, since this machine may have those of libvirt or not."""
    found = TableHost()
    monkeypatch.setattr("reconciler.legacy.defaults.ThisHost", lambda: found)
    return found


def spec_of(text: str) -> Spec:
    return schema.parse(imported(text, NAME).text, "spec")


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_a_file_becomes_a_spec_or_is_refused(path: Path) -> None:
    refusal = path.with_suffix(".refused")
    if refusal.exists():
        with pytest.raises(SpecError) as refused:
            imported(path.read_bytes().decode(), NAME)
        assert f"{refused.value}\n" == refusal.read_text()
        return
    found = imported(path.read_bytes().decode(), NAME)
    assert found.text == path.with_suffix(".yaml").read_text()
    assert schema.parse(found.text, "spec")


def test_nothing_set_is_virtio_forwarders_defaults() -> None:
    spec = spec_of("VIRTIOFWD_STATIC_VFS=")
    assert (spec.engine.worker_cpus, spec.engine.main_cpu, spec.engine.log_level) == ((1, 2), 0, "info")
    assert (spec.vhost_user.owner, spec.vhost_user.group) == ("libvirt-qemu", "kvm")
    assert (spec.vhost_user.directory, spec.vhost_user.name) == ("/tmp", "virtio-forwarder%u.sock")
    assert (spec.vhost_user.template_sockets, spec.vhost_user.dynamic_sockets) == (True, False)


@pytest.mark.parametrize(
    ("text", "attribute", "value"),
    [
        ("VIRTIOFWD_CPU_MASK=0x6", "engine.worker_cpus", (1, 2)),
        ("VIRTIOFWD_CPU_MASK=3,1", "engine.worker_cpus", (1, 3)),
        ("VIRTIOFWD_MASTER_LCORE=5", "engine.main_cpu", 5),
        ("VIRTIOFWD_LOG_LEVEL=0", "engine.log_level", "emergency"),
        ("VIRTIOFWD_LOG_LEVEL=7", "engine.log_level", "debug"),
        ("VIRTIOFWD_SOCKET_OWNER=", "vhost_user.owner", "libvirt-qemu"),
        ("VIRTIOFWD_SOCKET_OWNER=qemu", "vhost_user.owner", "qemu"),
        ("VIRTIOFWD_SOCKET_GROUP=", "vhost_user.group", "kvm"),
        ("VIRTIOFWD_SOCKET_GROUP=107", "vhost_user.group", "107"),
        ("VIRTIOFWD_SOCKET_DIR=/tmp/virtio-forwarder/", "vhost_user.directory", "/tmp/virtio-forwarder"),
        ("VIRTIOFWD_SOCKET_FNAME_PATTERN=vf%u", "vhost_user.name", "vf%u"),
        ("VIRTIOFWD_DYNAMIC_SOCKETS=true", "vhost_user.dynamic_sockets", True),
        ("VIRTIOFWD_DYNAMIC_SOCKETS=y", "vhost_user.template_sockets", False),
        ("VIRTIOFWD_DYNAMIC_SOCKETS=false", "vhost_user.dynamic_sockets", False),
        ("VIRTIOFWD_VHOST_CLIENT=y", "vhost_user.mode", "client"),
        ("VIRTIOFWD_VHOST_CLIENT=", "vhost_user.mode", "server"),
        ("VIRTIOFWD_JUMBO=y", "vhost_user.jumbo", True),
        ("VIRTIOFWD_MRGBUF=y", "vhost_user.mrgbuf", True),
        ("VIRTIOFWD_TSO=y", "vhost_user.csum", True),
        ("VIRTIOFWD_TSO=y", "vhost_user.tso", True),
        ("VIRTIOFWD_VFIO_VF_TOKEN=0", "engine.vfio_vf_token", "14d63f20-8445-11ea-8900-1f9ce7d5650d"),
        ("VIRTIOFWD_VFIO_VF_TOKEN=", "engine.vfio_vf_token", None),
        ("VIRTIOFWD_BIND_VFIO_PCI=ens3,01:02.3,ens4:16", "bind_vfs", ("ens3", "0000:01:02.3", "ens4:16")),
        ("VIRTIOFWD_IPC_PORT_CONTROL=y", "port_control.ipc.file", "/tmp/vio_cmd"),
        ("VIRTIOFWD_IPC_PORT_CONTROL=y", "port_control.ovsdb", None),
        ("VIRTIOFWD_OVSDB_SOCK_PATH=/run/db.sock", "port_control.ovsdb.socket", "/run/db.sock"),
        ("VIRTIOFWD_OVSDB_SOCK_PATH=unix:/run/db.sock", "port_control.ovsdb.socket", "/run/db.sock"),
        ("VIRTIOFWD_STATIC_VFS=", "port_control.ovsdb.socket", "/usr/local/var/run/openvswitch/db.sock"),
        ("VIRTIOFWD_ZMQ_PORT_CONTROL_EP=ipc:///run/p", "port_control.ovsdb", None),
        ("VIRTIOFWD_ZMQ_PORT_CONTROL_EP=ipc:///run/p", "port_control.zmq.endpoint", "ipc:///run/p"),
        ("VIRTIOFWD_ZMQ_STATS_EP=ipc:///run/s", "services.stats.endpoint", "ipc:///run/s"),
        ("VIRTIOFWD_ZMQ_CONFIG_EP=ipc:///run/c", "services.config.endpoint", "ipc:///run/c"),
        ("VIRTIOFWD_ZMQ_CORE_SCHED_EP=ipc:///run/k", "services.core_sched", None),
        (
            "VIRTIOFWD_ZMQ_CORE_SCHED_EP=ipc:///run/k\nVIO4WD_CORE_SCHED_ENABLE=true",
            "services.core_sched.endpoint",
            "ipc:///run/k",
        ),
        (
            "VIRTIOFWD_ZMQ_CORE_SCHED_EP=ipc:///run/k\nVIO4WD_CORE_SCHED_ENABLE=true",
            "services.stats.endpoint",
            "ipc:///var/run/virtio-forwarder/stats",
        ),
        (
            "VIRTIOFWD_ZMQ_CORE_SCHED_EP=ipc:///run/k\nVIO4WD_CORE_SCHED_ENABLE=true\nVIRTIOFWD_ZMQ_STATS_EP=ipc:///run/s",
            "services.stats.endpoint",
            "ipc:///run/s",
        ),
        ("VIRTIOFWD_ZMQ_CORE_SCHED_EP=ipc:///run/k", "services.stats", None),
        ("VIO4WD_CORE_SCHED_ENABLE=true", "balance.override", True),
        ("VIO4WD_CORE_SCHED_ENABLE=yes", "balance.override", False),
    ],
)
def test_a_variable_becomes_a_key(text: str, attribute: str, value: object) -> None:
    found: object = spec_of(text)
    for name in attribute.split("."):
        found = getattr(found, name)
    assert found == value


@pytest.mark.parametrize("text", ["VIRTIOFWD_SOCKET_OWNER=\nVIRTIOFWD_SOCKET_GROUP=\n", "VIRTIOFWD_JUMBO=y\n"])
def test_where_the_host_does_not_have_libvirts_accounts_its_own_are_used_and_that_is_said(
    host: TableHost, text: str
) -> None:
    host.users.clear()
    found = imported(text, NAME)
    spec = schema.parse(found.text, "spec")
    assert (spec.vhost_user.owner, spec.vhost_user.group) == (None, "kvm")
    said = [str(remark) for remark in found.remarks if "SOCKET_OWNER" in str(remark)]
    assert len(said) == 1
    assert "since this host has no user 'libvirt-qemu'; name QEMU's" in said[0]
    host.groups.clear()
    assert schema.parse(imported(text, NAME).text, "spec").vhost_user.group is None
    named = imported("VIRTIOFWD_SOCKET_OWNER=qemu\n", NAME)
    assert schema.parse(named.text, "spec").vhost_user.owner == "qemu", "waited for, as any that a spec names"


def test_statistics_that_come_with_the_core_scheduler_are_no_second_service_on_one_endpoint() -> None:
    both = "VIO4WD_CORE_SCHED_ENABLE=true\nVIRTIOFWD_ZMQ_CORE_SCHED_EP=ipc:///var/run/virtio-forwarder/stats\n"
    with pytest.raises(SpecError) as refused:
        imported(both, NAME)
    assert "VIRTIOFWD_ZMQ_" in str(refused.value)


def test_false_leaves_dynamic_sockets_off_and_that_is_said() -> None:
    (remark,) = (r for r in imported("VIRTIOFWD_DYNAMIC_SOCKETS=False\n", NAME).remarks if "DYNAMIC" in str(r))
    assert "'False' leaves it off" in remark.message


def test_static_vfs_have_their_pins_and_binding() -> None:
    spec = spec_of(
        "VIRTIOFWD_STATIC_VFS=(0000:05:08.1=1 05:08.2=2)\n"
        "VIRTIOFWD_CPU_PINS='1:1,2;2:2;7:1'\nVIRTIOFWD_BIND_VFIO_PCI=05:08.2"
    )
    first, second = spec.relays
    assert (first.id, first.vf and first.vf.name, first.cpus, first.bind) == (1, "0000:05:08.1", (1, 2), False)
    assert (second.id, second.vf and second.vf.name, second.cpus, second.bind) == (2, "0000:05:08.2", (2, 2), True)
    assert [(pin.relay, pin.cpus) for pin in spec.pins] == [(7, (1, 1))]
    assert spec.bind_vfs == ()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("VIRTIOFWD_CPU_MASK=a", ":1: VIRTIOFWD_CPU_MASK: 'a' is neither a list of CPUs"),
        ("VIRTIOFWD_CPU_MASK=0x0", "names no CPU"),
        ("VIRTIOFWD_CPU_MASK=0,1", "CPU 0 is VIRTIOFWD_MASTER_LCORE and in VIRTIOFWD_CPU_MASK"),
        ("VIRTIOFWD_LOG_LEVEL=8", "8 is no level from 0 to 7"),
        ("VIRTIOFWD_SOCKET_DIR=tmp", "'tmp' is no absolute path"),
        ("VIRTIOFWD_SOCKET_FNAME_PATTERN=vf%u1", "no digit right after it"),
        ("VIRTIOFWD_STATIC_VFS=0000:05:08.1", "is no <PCI>=<virtio_id>"),
        ("VIRTIOFWD_STATIC_VFS=(05:08.1=1 05:08.2=1)", "relay 1 is given 0000:05:08.1 and 0000:05:08.2"),
        ("VIRTIOFWD_STATIC_VFS=(05:08.1=1 05:08.1=2)", "0000:05:08.1 is given to two relays"),
        ("VIRTIOFWD_STATIC_VFS=05:08.1=64", "relay 64 is beyond the last one, 63"),
        ("VIRTIOFWD_CPU_PINS=1:7", "CPU 7 of relay 1 is not in VIRTIOFWD_CPU_MASK (1, 2)"),
        ("VIRTIOFWD_CPU_PINS=1", "is no <id>:<cpu>[,<cpu>]"),
        ("VIRTIOFWD_OVSDB_SOCK_PATH=tcp:127.0.0.1:6640", "'tcp:127.0.0.1:6640' is no absolute path"),
        ("VIRTIOFWD_VFIO_VF_TOKEN=x", "'x' is no UUID"),
        ("VIRTIOFWD_BIND_VFIO_PCI=a/b", "'a/b' is no PCI address, netdev or netdev:count"),
        ("", "no variable of virtio-forwarder's is set here; to relay nothing, write VIRTIOFWD_STATIC_VFS="),
        ("A=1", "no variable of virtio-forwarder's is set here"),
        ("VIRTIOFWD_JUMBO=y\nif x; then\n", ":2:1: 'if' is a command; only bash can tell what this file sets then"),
        ("VIRTIOFWD_JUMBO=y\n\0", ":2:1: a zero byte stands here; save the file as text"),
        ("VIRTIOFWD_JUMBO=y\r\n", ":1:1: a carriage return stands here; bash takes it for a part of the value"),
    ],
)
def test_what_cannot_be_is_refused_by_name(text: str, sentence: str) -> None:
    with pytest.raises(SpecError) as refused:
        imported(text, NAME)
    assert str(refused.value).startswith(NAME)
    assert sentence in str(refused.value)


@pytest.mark.parametrize("variable", IGNORED)
def test_what_has_no_key_is_answered(variable: str) -> None:
    assert any(
        f":1: {variable}: {IGNORED[variable]}" in str(remark) for remark in imported(f"{variable}=x", NAME).remarks
    )


@pytest.mark.parametrize(
    ("names", "frontend", "ignored"),
    [
        (
            ("OVSDB_SOCK_PATH", "IPC_PORT_CONTROL", "ZMQ_PORT_CONTROL_EP"),
            "zmq",
            ("IPC_PORT_CONTROL", "OVSDB_SOCK_PATH"),
        ),
        (("OVSDB_SOCK_PATH", "IPC_PORT_CONTROL"), "ipc", ("OVSDB_SOCK_PATH",)),
        (("OVSDB_SOCK_PATH",), "ovsdb", ()),
        ((), "ovsdb", ()),
    ],
)
def test_one_port_control_in_the_old_order(names: tuple[str, ...], frontend: str, ignored: tuple[str, ...]) -> None:
    values = {"OVSDB_SOCK_PATH": "/run/x", "IPC_PORT_CONTROL": "y", "ZMQ_PORT_CONTROL_EP": "ipc:///run/x"}
    found = imported("".join(f"VIRTIOFWD_{name}={values[name]}\n" for name in names) or "VIRTIOFWD_MRGBUF=", NAME)
    given = schema.parse(found.text, "spec").port_control
    assert [name for name in ("zmq", "ovsdb", "ipc") if getattr(given, name) is not None] == [frontend]
    said = [remark for remark in map(str, found.remarks) if "there is one port control only" in remark]
    assert [name for name in ignored for remark in said if f"VIRTIOFWD_{name}: " in remark] == list(ignored)
    assert len(said) == len(ignored)


def test_unknown_variables_are_named_with_the_nearest() -> None:
    remark = imported("VIRTIOFWD_SOKET_DIR=/tmp", NAME).remarks[0].message
    assert remark.endswith("nothing is made of it; is VIRTIOFWD_SOCKET_DIR meant?")
    assert "VIRTIOFWD_SOCKET_DIR" in TAKEN


VALUES = ("0000:05:08.1=1", "net_null1=2", "1:1,2", "0x6", "7", "/tmp", "ipc:///run/x", "vm%u.sock", "\u2028", "\ud800")
SHELL = (*"=()'\"\\\n\0\x0b#$`; &|<>", "\r\n", "${", "[0]=", "+=", "export ")
PIECES = (*(f"\n{variable}=" for variable in TAKEN), *VALUES, *SHELL)


@settings(deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_whatever_stands_in_it_is_a_spec_or_refused_in_sentences(text: str) -> None:
    with contextlib.suppress(SpecError):
        found = imported(text, NAME)
        assert schema.parse(found.text, "spec")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "defaults", tmp_path / "vio4wd.yaml"
    source.write_text("VIRTIOFWD_CPU_MASK=1\n")
    assert main(["import", str(source)]) == 0
    assert schema.parse(capsys.readouterr().out, "spec").engine.worker_cpus == (1,)
    assert main(["import", str(source), "-o", str(out)]) == 0
    assert schema.load(out).engine.worker_cpus == (1,)
    assert main(["import", str(source), "-o", str(out)]) == 1
    assert "was left as it is" in capsys.readouterr().err
    source.write_text("VIRTIOFWD_CPU_MASK=x\n")
    assert main(["import", str(source)]) == 1
    assert "Nothing was made of it." in capsys.readouterr().err
    source.write_bytes(b"VIRTIOFWD_JUMBO=y\n# B\xfccher\n")
    assert main(["import", str(source)]) == 1
    assert ":2:1: what stands here is no UTF-8" in capsys.readouterr().err
    source.write_text("# x\n" * 20_000)
    assert main(["import", str(source)]) == 1
    assert "has 80,000 bytes, and 65,536 are read" in capsys.readouterr().err
    assert main(["import", "/etc/passwd"]) == 1
    assert "/etc/passwd:1:1: 'root:x:0:0:root:/root:/bin/bash' is a command" in capsys.readouterr().err
    assert main(["import", str(tmp_path / "missing")]) == 1
    assert "does not exist; check the path" in capsys.readouterr().err
