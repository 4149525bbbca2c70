"""What is never bound: whatever is no network device, and whatever the host lives on."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.host.interface_usage import Network, usage
from reconciler.host.netlink import addresses, routes
from reconciler.host.pci import Facts
from reconciler.host.refusal import HostRefused
from reconciler.host.vfio import HostVfs, to_bind
from tests.kit.fakes.fake_pci import BRIDGE, DISK, FakePci
from tests.kit.network.netns import Namespace, VethWire, run

VF, OTHER = "0000:05:08.1", "0000:05:08.2"
UP, DOWN = 0x1003, 0x1002


@pytest.fixture
def pci(tmp_path: Path) -> FakePci:
    return FakePci(tmp_path / "root")


@pytest.fixture
def vfs(tmp_path: Path, pci: FakePci) -> Iterator[HostVfs]:
    made = HostVfs(tmp_path / "state", pci)
    yield made
    made.close()


def to_poll(vfs: HostVfs, address: str = VF) -> str:
    """What is said of one that is to be polled as it is."""
    with pytest.raises(HostRefused) as caught:
        vfs.require_pollable(address)
    return str(caught.value)


def host_nic(pci: FakePci) -> None:
    """What the host is reached by, so that no other is its only one."""
    pci.add("0000:00:03.0", "virtio-pci", group="1", class_="0x020000", virtual=False)
    pci.interface("0000:00:03.0", "eth0", UP, below="virtio2")


def refused(vfs: HostVfs, address: str = VF) -> str:
    """Why it is not bound, which is said beforehand too, and that it is as it was."""
    with pytest.raises(HostRefused) as caught:
        vfs.bind(address)
    refusal = vfs.refusal(address, binds=True)
    assert refusal is not None
    assert refusal.message == str(caught.value)
    assert vfs.bound() == {}
    return refusal.message


def test_a_card_that_the_host_uses_is_not_taken_from_it(vfs: HostVfs, pci: FakePci) -> None:
    host_nic(pci)
    pci.add(VF, "e1000e", group="10", virtual=False)
    pci.interface(VF, "eth1", UP)
    assert f"{VF} is in use by this host: its interface eth1 is up. Taking it away could cut" in refused(vfs)
    pci.add(OTHER, "igbvf", group="11")
    pci.interface(OTHER, "eth2", UP)
    vfs.bind(OTHER)


@pytest.mark.parametrize("virtual", [True, False])
@pytest.mark.parametrize(
    ("below", "has", "clause"),
    [
        ("virtio0", "up", "its interface eth1 is up"),
        ("", "address", "its interface eth1 has the address 192.0.2.9/24"),
        ("a/b/c", "address", "its interface eth1 has the address 192.0.2.9/24"),
        ("", "route", "a route (default) leads through its interface eth1"),
        ("virtio0", "master", "its interface eth1 belongs to bond0"),
        ("", "upper", "its interface eth1 belongs to eth1.100"),
        ("", "second", "its interface eth1b belongs to ovs-system"),
        ("", "elsewhere", "its interface is in another network namespace"),
        ("host0/target0/block", "disk", "the disk sda hangs on it"),
    ],
)
def test_what_the_host_does_with_a_function_keeps_it(
    vfs: HostVfs, pci: FakePci, virtual: bool, below: str, has: str, clause: str
) -> None:
    host_nic(pci)
    pci.add(VF, "igbvf", group="10", virtual=virtual)
    up = has in ("up", "route") and not (virtual and has == "up")
    if has == "disk":
        (pci.device(VF) / below / "sda").mkdir(parents=True)
    elif has == "elsewhere":
        (pci.device(VF) / "net").mkdir()
    else:
        index = pci.interface(VF, "eth1", UP if up else DOWN, below, "bond0" if has == "master" else "")
        pci.addresses[index] += ["192.0.2.9/24"] if has == "address" else []
        pci.routes[index] += ["default"] if has == "route" else []
    if has == "upper":
        (pci.device(VF) / "net/eth1/upper_eth1.100").symlink_to("../eth1.100")
    if has == "second":
        pci.interface(VF, "eth1b", DOWN, master="ovs-system")
    if virtual and has == "up":
        vfs.bind(VF)
    else:
        assert clause in refused(vfs)
        assert "driverctl" not in to_poll(vfs)
        assert "write bind" not in to_poll(vfs)


def test_the_hosts_only_interface_stays_also_while_it_is_down(vfs: HostVfs, pci: FakePci) -> None:
    pci.add(VF, "virtio-pci", group="10", virtual=False)
    pci.interface(VF, "eth0", DOWN, below="virtio0")
    assert "it has the host's only network interface (eth0)" in refused(vfs)
    pci.add(OTHER, "e1000e", group="11", virtual=False)
    pci.interface(OTHER, "eth1", DOWN)
    vfs.bind(VF)


def test_a_pf_keeps_its_vfs(vfs: HostVfs, pci: FakePci) -> None:
    pci.add(VF, "igb", group="10", virtual=False)
    (pci.device(VF) / "sriov_numvfs").write_text("3\n")
    assert "its 3 VFs would vanish with its driver" in refused(vfs)


@pytest.mark.parametrize("class_", [DISK, BRIDGE, "0x030000", "0x0c0330", ""])
def test_nothing_but_network_devices_is_bound_or_proposed(vfs: HostVfs, pci: FakePci, class_: str) -> None:
    pci.add(VF, "nvme", group="10", class_=class_, virtual=False)
    assert "is not known to be a network device" in refused(vfs)
    assert pci.driver(VF) == "nvme"
    assert "bind: true" not in to_poll(vfs)
    assert "driverctl" not in to_poll(vfs)
    assert to_bind(VF, Facts(VF, driver="nvme", group="1")) is not None


@pytest.mark.parametrize("driver", ["ahci", "", "vfio-pci"])
def test_a_group_with_what_is_no_network_device_is_left_alone(vfs: HostVfs, pci: FakePci, driver: str) -> None:
    pci.add(VF, "igbvf", group="10")
    pci.add("0000:00:1c.0", "pcieport", group="10", class_=BRIDGE)
    pci.add(OTHER, driver, group="10", class_=DISK, virtual=False)
    if driver == "vfio-pci":  # the host does without it already
        vfs.bind(VF)
        return
    assert f"{VF} shares IOMMU group 10 with {OTHER}" in refused(vfs)
    assert "Bind" not in to_poll(vfs)


def test_a_group_with_a_card_that_the_host_uses_is_left_alone(vfs: HostVfs, pci: FakePci) -> None:
    host_nic(pci)
    pci.add(VF, "igbvf", group="10")
    pci.add(OTHER, "e1000e", group="10", virtual=False)
    vfs.bind(VF)
    assert "Bind it to vfio-pci too" in to_poll(vfs)
    vfs.give_back(VF)
    pci.interface(OTHER, "eth1", UP)
    assert f"with {OTHER}, which is in use by this host: its interface eth1 is up" in refused(vfs)
    pci.set_override(VF, "vfio-pci")  # somebody else has bound it
    pci.probe(VF)
    pci.unbind(VF)
    pci.probe(VF)
    assert "Bind" not in to_poll(vfs)


def test_the_host_is_asked_again_right_before_it_loses_the_function(
    vfs: HostVfs, pci: FakePci, monkeypatch: pytest.MonkeyPatch
) -> None:
    host_nic(pci)
    pci.add(VF, "igbvf", group="10")
    index = pci.interface(VF, "eth1", DOWN)
    monkeypatch.setattr(pci, "load_vfio", lambda: pci.addresses[index].append("192.0.2.9/24"))
    with pytest.raises(HostRefused, match="its interface eth1 has the address"):
        vfs.bind(VF)
    facts = pci.facts(VF)
    assert facts is not None
    assert (facts.driver, facts.override, vfs.bound()) == ("igbvf", "", {})


def test_an_interface_of_which_the_kernel_says_nothing_is_in_use(tmp_path: Path) -> None:
    def silent(_index: int) -> list[str]:
        raise OSError(errno.EPERM, "Operation not permitted")

    pci = FakePci(tmp_path / "root")
    host_nic(pci)
    pci.add(VF, "igbvf", group="10")
    pci.interface(VF, "eth1", UP)
    found = usage(pci.device(VF), pci.root / "sys/class/net", Network(silent, silent))
    assert [clause.partition(" (")[0] for clause in found] == [
        "its interface eth1 is up, and the kernel does not say what uses it"
    ]


def test_the_kernel_tells_addresses_and_routes_of_an_interface() -> None:
    with Namespace() as inside, VethWire(inside, "10.99.77.1/24") as wire:
        index = socket.if_nametoindex(wire.vf)
        assert (addresses(index), routes(index)) == ([], [])
        run(["ip", "address", "add", "192.0.2.201/30", "dev", wire.vf])
        run(["ip", "route", "add", "198.51.100.0/24", "dev", wire.vf, "table", "77"])
        assert addresses(index) == ["192.0.2.201/30"]
        assert sorted(routes(index)) == ["192.0.2.200/30", "198.51.100.0/24"]


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("pfs: [0000:05:08.1]", True),
        ("pfs: [eth1]", True),
        ("pfs: [eth9, 0000:05:08.2]", False),
        ("pfs: []", False),
        ("open_to_all: false", True),
        ("no_such_key: 1", False),
    ],
)
def test_the_hosts_policy_says_which_physical_functions_may_be_bound(
    tmp_path: Path, vfs: HostVfs, pci: FakePci, monkeypatch: pytest.MonkeyPatch, text: str, bound: bool
) -> None:
    policy = tmp_path / "host.policy"
    policy.write_text(f"apiVersion: vio4wd/v1\n{text}\n")
    policy.chmod(0o600)
    monkeypatch.setenv("VIO4WD_POLICY", str(policy))
    host_nic(pci)
    pci.add(VF, "e1000e", group="10", virtual=False)
    pci.interface(VF, "eth1", DOWN)
    pci.add(OTHER, "igbvf", group="11")
    vfs.bind(OTHER)
    vfs.give_back(OTHER)
    if bound:
        vfs.bind(VF)
    else:
        assert f"{VF} is a physical function that may not be bound; " in refused(vfs)
        assert "driverctl" not in to_poll(vfs)
