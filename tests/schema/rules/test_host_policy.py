"""What the host's policy has against which spec, and when the policy itself is believed."""

from __future__ import annotations

import json
import os
from pathlib import Path as FilePath
from typing import Any

import jsonschema
import pytest

import schema
from schema.model import Port
from schema.nodes import Path, Problem
from schema.rules.check import schema as published
from schema.rules.host_policy import SCHEMA_NAME, Policy, device_refusal, in_force, read_policy, refusals
from schema.rules.virtual_devices import KINDS
from schema.spec import (
    BalanceSpec,
    BondSpec,
    EndpointSpec,
    HugepagesSpec,
    IpcSpec,
    LibvirtSpec,
    OvsdbSpec,
    PortControlSpec,
    RelaySpec,
    ServicesSpec,
    Spec,
    VhostUserSpec,
)

NULL = Port("net_null0")
EXEC = Port("net_failsafe0", "exec(id)")
BOND = BondSpec("net_bonding0", (NULL, EXEC))


def _not_own(_: Path) -> bool:
    return False


def _relays(**keys: Any) -> Spec:
    return Spec(relays=(RelaySpec(1, **{"vf": NULL, **keys}),))


def _memif(path: str) -> Spec:
    return Spec(relays=(RelaySpec(1, Port("net_memif0", f"role=server,socket-abstract=no,socket={path}")),))


def _stats(path: str, permissions: int = 0o660) -> Spec:
    return Spec(services=ServicesSpec(stats=EndpointSpec(f"ipc://{path}", permissions=permissions)))


BROKEN = Policy(file="f", problems=(Problem("f", 1, 1, "", "x"),))
LISTS = Policy(sockets=("/srv/guests",), endpoints=("/srv/ends",), mounts=("/mnt/huge",), file="f")

# what, spec, where the refusal stands: for the host's own file and for others without a policy, and with one
DEFAULT, OWN, ALL = "default", "own", "all"
CASES: list[tuple[Spec, str | None, str | None, str | None]] = [
    (_relays(socket="/tmp/a.sock"), None, None, "relays[0].socket"),
    (_relays(socket="/var/run/openvswitch/a.sock"), None, None, "relays[0].socket"),
    (_relays(socket="/srv/guests/a.sock"), None, "relays[0].socket", None),
    (_relays(socket="/srv/guestsx/a.sock"), None, "relays[0].socket", "relays[0].socket"),
    (_relays(socket="/etc/cron.d/a"), None, "relays[0].socket", "relays[0].socket"),
    (_relays(), None, None, "vhost_user.directory"),
    (Spec(), None, None, None),
    (Spec(vhost_user=VhostUserSpec(directory="/etc")), None, "vhost_user.directory", "vhost_user.directory"),
    (Spec(vhost_user=VhostUserSpec(directory="/srv/guests")), None, "vhost_user.directory", None),
    (Spec(vhost_user=VhostUserSpec(template_sockets=True)), None, None, "vhost_user.directory"),
    (_memif("/run/m"), None, None, "vhost_user.directory, relays[0].vf"),
    (_memif("/etc/m"), None, "relays[0].vf", "vhost_user.directory, relays[0].vf"),
    (_memif("/srv/guests/m"), None, "relays[0].vf", "vhost_user.directory"),
    (_stats("/run/virtio-forwarder/stats"), None, None, "services.stats.endpoint"),
    (_stats("/etc/shadow"), None, "services.stats.endpoint", "services.stats.endpoint"),
    (_stats("/srv/ends/stats"), None, "services.stats.endpoint", None),
    (
        Spec(port_control=PortControlSpec(ipc=IpcSpec("/etc/fstab"))),
        None,
        "port_control.ipc.file",
        "port_control.ipc.file",
    ),
    (Spec(port_control=PortControlSpec(ipc=IpcSpec())), None, None, "port_control.ipc.file"),
    (Spec(port_control=PortControlSpec(ovsdb=OvsdbSpec())), None, None, "port_control.ovsdb.socket"),
    (
        Spec(port_control=PortControlSpec(ovsdb=OvsdbSpec("/home/x/db.sock"))),
        None,
        "port_control.ovsdb.socket",
        "port_control.ovsdb.socket",
    ),
    (Spec(hugepages=(HugepagesSpec("/dev/hugepages", "2M", 1),)), None, None, "hugepages[0].mount"),
    (Spec(hugepages=(HugepagesSpec("/mnt/huge", "2M", 1),)), None, "hugepages[0].mount", None),
    (Spec(hugepages=(HugepagesSpec("/etc", "2M", 1),)), None, "hugepages[0].mount", "hugepages[0].mount"),
    (Spec(vhost_user=VhostUserSpec(permissions=0o666)), None, "vhost_user.permissions", None),
    (Spec(vhost_user=VhostUserSpec(permissions=0o664)), None, None, None),
    (_stats("/run/s", 0o662), None, "services.stats.permissions", "services.stats.endpoint"),
    (
        Spec(hugepages=(HugepagesSpec("/run/huge", "2M", 1, LibvirtSpec(permissions=0o777)),)),
        None,
        "hugepages[0].libvirt.permissions",
        "hugepages[0].mount",
    ),
    (_relays(socket="/tmp/a", vf=EXEC), "relays[0].vf", "relays[0].vf", "relays[0].vf, relays[0].socket"),
    (
        _relays(socket="/tmp/a", vf=None, bond=BOND),
        "relays[0].bond.members[1]",
        "relays[0].bond.members[1]",
        "relays[0].bond.members[1], relays[0].socket",
    ),
    (Spec(balance=BalanceSpec(True)), None, None, None),
]


def _places(spec: Spec, policy: Policy, own: bool) -> str | None:
    from schema.nodes import dotted

    found = refusals(spec, policy) if own else refusals(spec, policy, _not_own)
    assert all(sentence.isprintable() for _, sentence in found)
    return ", ".join(dotted(path) for path, _ in found) or None


@pytest.mark.parametrize(("spec", "own", "other", "listed"), CASES)
def test_what_is_against_a_spec(spec: Spec, own: str | None, other: str | None, listed: str | None) -> None:
    assert _places(spec, Policy(), own=True) == own
    assert _places(spec, Policy(), own=False) == other
    assert _places(spec, LISTS, own=True) == listed


def test_a_policy_that_cannot_be_used_leaves_the_own_file_what_others_may() -> None:
    for spec, _, other, _ in CASES:
        assert _places(spec, BROKEN, own=True) == other


def test_others_may_have_things_where_the_own_file_has_its_own() -> None:
    spec = Spec(
        vhost_user=VhostUserSpec(directory="/srv/guests"),
        relays=(
            RelaySpec(1, NULL),
            RelaySpec(2, Port("net_null1"), socket="/srv/guests/b"),
            RelaySpec(3, NULL, socket="/x/c"),
        ),
    )
    found = refusals(spec, Policy(), lambda path: path[0] == "vhost_user")
    assert [path for path, _ in found] == [("relays", 2, "socket")]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/run/vio4wd/engine-0.sock", True),
        ("/run/vio4wd/engine-1.events", True),
        ("/run/vio4wd/watch.lock", True),
        ("/run/vio4wd/sync", True),
        ("/run/vio4wd/dpdk/x", True),
        ("/var/lib/vio4wd/x", True),
        ("/var/cache/vio4wd/x/y", True),
        ("/var/run/vio4wd/engine-0.sock", True),
        ("/run/vio4wd/engine-7.lock/x", True),
        ("/run/vio4wd/sync/x/y", True),
        ("/run/vio4wd", True),
        ("/run/vio4wd/guests/engine-0.sock", False),
        ("/var/run/openvswitch/engine-0.sock", False),
        ("/run/vio4wd/stats", False),
    ],
)
def test_nothing_is_made_in_the_place_of_a_file_of_vio4wds_own(path: str, said: bool) -> None:
    for spec in (_stats(path), _relays(socket=path), Spec(port_control=PortControlSpec(ipc=IpcSpec(path)))):
        assert any("vio4wd's own files" in sentence for _, sentence in refusals(spec, Policy())) == said


def test_open_to_all_is_the_policys_to_allow() -> None:
    spec = Spec(vhost_user=VhostUserSpec(permissions=0o666))
    assert refusals(spec, Policy(open_to_all=True), _not_own) == ()


def test_what_dpdk_is_given() -> None:
    assert device_refusal(Port("0000:05:00.1"), Policy()) == ""
    assert device_refusal(Port("0000:05:00.1", "ddp_pkg_file=/tmp/x"), Policy()) == "a PCI function takes no arguments"
    assert device_refusal(Port("net_af_xdp0", "iface=eth0"), Policy())
    assert (
        device_refusal(Port("net_af_xdp0", "iface=eth0"), Policy({"net_af_xdp": {"iface": KINDS["interface"]}})) == ""
    )


# ---- the file --------------------------------------------------------------------------------------------------------

WHOLE = """\
apiVersion: vio4wd/v1
devices: {net_af_xdp: {iface: interface, queue_count: number}}
directories: {sockets: [/srv//guests/], endpoints: [], mounts: [/mnt/huge]}
open_to_all: true
pfs: ["0000:05:00.0", ens1f1]
"""


@pytest.fixture
def file(tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch) -> FilePath:
    path = tmp_path / "host.policy"
    monkeypatch.setenv("VIO4WD_POLICY", str(path))
    return path


def _write(file: FilePath, text: str, mode: int = 0o644) -> None:
    file.unlink(missing_ok=True)
    file.write_text(text)
    file.chmod(mode)


def test_it_is_read(file: FilePath) -> None:
    _write(file, WHOLE)
    policy = in_force()
    assert (policy.problems, policy.file) == ((), str(file))
    assert policy.devices["net_af_xdp"]["queue_count"] is KINDS["number"]
    assert (policy.sockets, policy.endpoints, policy.mounts) == (("/srv/guests",), (), ("/mnt/huge",))
    assert (policy.open_to_all, policy.pfs) == (True, ("0000:05:00.0", "ens1f1"))


def test_a_change_is_in_force_at_once_and_the_same_is_not_read_again(file: FilePath) -> None:
    assert in_force().file == ""
    _write(file, "apiVersion: vio4wd/v1\nopen_to_all: true\n")
    first = in_force()
    assert first.open_to_all
    assert in_force() is first
    _write(file, "apiVersion: vio4wd/v1\n")
    assert not in_force().open_to_all
    file.unlink()
    assert in_force().file == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the file is empty"),
        ("apiVersion: vio4wd/v2\n", "must be vio4wd/v1"),
        ("relays: []\n", "unknown key 'relays'"),
        ("directories: {sockets: [/run], socket: [/run]}\n", "unknown key 'socket', did you mean sockets?"),
        ("directories: {sockets: [run]}\n", "must be an absolute path"),
        ("directories: {sockets: [/run/../etc]}\n", "must be an absolute path"),
        ("devices: {net_tap0: {}}\n", "the key 'net_tap0' must be a DPDK driver without a number"),
        ("devices: {net_tap: {remote: anything}}\n", "must be one of interface, number"),
        ("devices: {net_tap: {'a,b': text}}\n", "the key 'a,b' must be an argument's name"),
        ("pfs: [0]\n", "must be text"),
        ("open_to_all: 1\n", "must be true or false"),
        ("open_to_all: true\nopen_to_all: true\n", "stands twice"),
        ("&a [*a]\n", ""),
        ("!!python/object:os.system {}\n", ""),
    ],
)
def test_a_mistake_in_it_is_said_and_the_strictest_rules_hold(file: FilePath, text: str, said: str) -> None:
    _write(file, text if text.startswith(("&", "!", "api")) or not text else f"apiVersion: vio4wd/v1\n{text}")
    policy = in_force()
    assert said in "\n".join(map(str, policy.problems))
    assert policy.problems[0].file == str(file)
    assert refusals(_relays(socket="/srv/a"), policy)


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_it_is_not_believed_when_others_may_write_it(file: FilePath, mode: int) -> None:
    _write(file, WHOLE, mode)
    assert "others than its owner may write this" in str(in_force().problems[0])
    assert not in_force().open_to_all


def test_a_link_a_fifo_and_a_directory_are_not_believed(file: FilePath) -> None:
    other = file.with_name("other")
    other.write_text(WHOLE)
    file.symlink_to(other)
    assert "this is a link" in str(in_force().problems[0])
    file.unlink()
    os.mkfifo(file)
    assert "no regular file" in str(in_force().problems[0])
    file.unlink()
    file.mkdir()
    assert "no regular file" in str(in_force().problems[0])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_another_users_is_not_believed(file: FilePath) -> None:
    _write(file, WHOLE)
    os.chown(file, 12345, -1)
    assert "belongs to user 12345" in str(in_force().problems[0])


def test_one_that_is_too_large_or_not_utf8_is_not_believed(file: FilePath) -> None:
    _write(file, "#" * 70_000)
    assert "65,536 bytes" in str(read_policy(file).problems[0])
    file.write_bytes(b"\xff")
    assert "can't be read" in str(read_policy(file).problems[0])


def test_its_schema_is_a_schema_whose_examples_hold() -> None:
    whole = published(SCHEMA_NAME)
    jsonschema.Draft202012Validator.check_schema(whole)
    validator = jsonschema.Draft202012Validator(whole)
    for key, part in whole["properties"].items():
        for example in part["examples"]:
            validator.validate({"apiVersion": "vio4wd/v1", key: example})


# ---- where it is asked -----------------------------------------------------------------------------------------------

OWN = "apiVersion: vio4wd/v1\nvhost_user: {directory: /srv/guests}\n"


def _text(name: str, **keys: object) -> schema.Text:
    return schema.Text(name, json.dumps({"apiVersion": "vio4wd/v1", **keys}).encode())


def test_a_source_may_not_what_the_own_file_may() -> None:
    relay = {"id": 1, "vf": "net_null0", "socket": "/srv/guests/one"}
    elsewhere = {"id": 2, "vf": "net_null1", "socket": "/etc/two"}
    own = schema.Tree((schema.Text("own", OWN.encode()),))
    assert len(schema.compose([own, schema.Tree((_text("git:a", relays=[relay]),))]).relays) == 1
    assert len(schema.compose([schema.Tree((_text("own", relays=[relay, elsewhere]),))]).relays) == 2
    with pytest.raises(schema.SpecError) as caught:
        schema.compose([own, schema.Tree((_text("git:a", relays=[relay, elsewhere]),))])
    (problem,) = caught.value.problems
    assert (problem.file, problem.path) == ("git:a", "relays[1].socket")
    assert "/etc/two must lie below /tmp, /run, /var/run, /srv/guests" in problem.message


def test_a_source_whose_file_has_the_own_files_name_is_a_source_all_the_same() -> None:
    own = schema.Tree((schema.Text("own", b"apiVersion: vio4wd/v1\n"),))
    other = schema.Tree((_text("own", vhost_user={"directory": "/etc"}),))
    with pytest.raises(schema.SpecError, match=r"/etc/ must lie below /tmp"):
        schema.compose([own, other])


def test_the_own_file_is_held_to_the_table_before_its_sources_are_read() -> None:
    from schema.loading.compose import head

    relay = {"id": 1, "vf": "net_failsafe0,exec(id)"}
    with pytest.raises(schema.SpecError, match="net_failsafe is no driver"):
        head(schema.Tree((_text("own", relays=[relay], sources=[{"directory": {"path": "/x"}}]),)))


def test_the_answer_says_which_policy_was_in_force(file: FilePath) -> None:
    bad = "apiVersion: vio4wd/v1\nrelays: [{id: 1, vf: net_pcap0}]\n"
    with pytest.raises(schema.SpecError, match=f"there is none at {file}"):
        schema.parse(bad, "f")
    _write(file, "apiVersion: vio4wd/v1\n")
    with pytest.raises(schema.SpecError, match=f"the host's policy {file} may allow more"):
        schema.parse(bad, "f")
    _write(file, "apiVersion: vio4wd/v1\ndevices: {net_pcap: {}}\n")
    assert schema.parse(bad, "f").relays[0].vf == Port("net_pcap0")
    _write(file, "x")
    with pytest.raises(schema.SpecError, match=f"until the host's policy is set right: {file}:1:1: "):
        schema.parse(bad, "f")
    assert schema.parse("apiVersion: vio4wd/v1\n", "f").warnings[0].file == str(file)
