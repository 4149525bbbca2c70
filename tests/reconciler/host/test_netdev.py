"""Which VF a network device stands for: told by representors, Netronome's driver or a PF's links; and remembered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.host.netdev import Netdevs, NetdevVf, NotAVf, ethtool_bus_info
from state.store import Store
from tests.kit.fakes.sysfs import Sysfs
from tests.kit.network.netns import Namespace, VethWire, run

PF0, PF1 = "0000:05:00.0", "0000:05:00.1"
VF3, OTHER = "0000:05:08.3", "0000:05:10.3"


@pytest.fixture
def sysfs(tmp_path: Path) -> Sysfs:
    return Sysfs(tmp_path / "sys")


@pytest.fixture
def drivers() -> dict[str, str]:
    """What the drivers tell of network devices."""
    return {}


@pytest.fixture
def host(tmp_path: Path, sysfs: Sysfs, drivers: dict[str, str]) -> Iterator[Netdevs]:
    store = Store(tmp_path / "state")
    yield Netdevs(store, sysfs.root, lambda netdev: drivers.get(netdev, ""))
    store.close()


def reason(host: Netdevs, netdev: str) -> str:
    with pytest.raises(NotAVf) as caught:
        host.find(netdev)
    return str(caught.value)


def test_the_interface_of_a_vf(host: Netdevs, sysfs: Sysfs) -> None:
    sysfs.vf(PF0, 2, "0000:05:08.2")
    sysfs.vf(PF0, 3, VF3)
    sysfs.netdev("eth103", device=VF3)
    assert host.find("eth103") == NetdevVf("eth103", VF3, 3)


def test_a_vf_may_be_any_device_that_dpdk_polls(host: Netdevs, sysfs: Sysfs) -> None:
    sysfs.vf("pf", 3, "net_af_packet3,iface=veth3")
    sysfs.netdev("veth3", device="net_af_packet3,iface=veth3")
    assert host.find("veth3") == NetdevVf("veth3", "net_af_packet3,iface=veth3", 3)


def test_the_representor_on_its_pf(host: Netdevs, sysfs: Sysfs) -> None:
    sysfs.vf(PF0, 3, VF3)
    sysfs.vf(PF1, 3, OTHER)
    sysfs.netdev("eth7", device=PF1, port="pf1vf3", switch="aa")
    assert host.find("eth7") == NetdevVf("eth7", OTHER, 3)


def test_one_whose_device_tells_its_pf_has_no_other_interface_looked_at(
    host: Netdevs, sysfs: Sysfs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With hundreds of representors that took seconds, every second while a single mark could not be carried out."""
    monkeypatch.setattr(host, "_behind_switch_of", lambda _: pytest.fail("the others were looked at"))
    sysfs.vf(PF0, 3, VF3)
    sysfs.netdev("eth7", device=PF0, port="pf0vf3", switch="aa")
    assert host.find("eth7") == NetdevVf("eth7", VF3, 3)


@pytest.mark.parametrize(("port", "vf"), [("pf0vf3", VF3), ("pf1vf3", OTHER), ("c0pf1vf3", OTHER)])
def test_the_representor_of_an_older_kernel_is_found_by_its_switch(
    host: Netdevs, sysfs: Sysfs, port: str, vf: str
) -> None:
    sysfs.vf(PF0, 3, VF3)
    sysfs.vf(PF1, 3, OTHER)
    sysfs.vf("0000:09:00.0", 3, "0000:09:08.3")
    sysfs.netdev("p0", device=PF0, port="p0", switch="aa")
    sysfs.netdev("p1", device=PF1, port="p1", switch="aa")
    sysfs.netdev("q0", device="0000:09:00.0", port="p0", switch="bb")
    sysfs.netdev("rep", port=port, switch="aa")
    assert host.find("rep") == NetdevVf("rep", vf, 3)


def test_the_representor_is_asked_before_the_driver_and_the_links(
    host: Netdevs, sysfs: Sysfs, drivers: dict[str, str]
) -> None:
    sysfs.vf(PF0, 3, VF3)
    sysfs.vf(PF0, 4, OTHER)
    sysfs.netdev("rep", device=PF0, port="pf0vf3", switch="aa")
    drivers["rep"] = f"NFP 0 VF0.4 {OTHER}"
    assert host.find("rep").index == 3


@pytest.mark.parametrize(
    ("told", "vf", "index"),
    [
        ("NFP 0 VF0.40 0000:05:0d.0", "0000:05:0d.0", 40),
        ("VF0.3 0000:05:08.3", "0000:05:08.3", 3),
        ("VF1.3 05:08.3", "0000:05:08.3", 3),
    ],
)
def test_netronomes_driver_tells(
    host: Netdevs, sysfs: Sysfs, drivers: dict[str, str], told: str, vf: str, index: int
) -> None:
    sysfs.netdev("sdn_v0.3", port="pf0vf3")
    drivers["sdn_v0.3"] = told
    assert host.find("sdn_v0.3") == NetdevVf("sdn_v0.3", vf, index)


def test_what_is_no_vf_is_said_in_a_sentence(host: Netdevs, sysfs: Sysfs) -> None:
    sysfs.vf(PF0, 3, VF3)
    sysfs.vf(PF0, 64, OTHER)
    sysfs.vf("pf", 5, "rubbish")
    sysfs.netdev("eth0", device=PF0)
    sysfs.netdev("lo")
    sysfs.netdev("far", port="c1pf0vf3", switch="aa")
    sysfs.netdev("none", device=PF0, port="pf0vf9", switch="aa")
    sysfs.netdev("high", device=OTHER)
    sysfs.netdev("bad", device="rubbish")
    assert reason(host, "eth0") == "eth0 is a PF's own interface; name one of its VFs'"
    assert "neither a VF's own interface nor a VF's representor" in reason(host, "lo")
    assert "stands for a VF of another host (c1pf0vf3)" in reason(host, "far")
    assert "stands for pf0vf9, and of PF 0 this host has no VF 9" in reason(host, "none")
    assert "high is VF 64 of its PF, and relays run from 0 to 63" in reason(host, "high")
    assert "what bad stands for can't be relayed: 'rubbish' is neither a PCI address" in reason(host, "bad")
    assert "this host has no network device eth9" in reason(host, "eth9")


@pytest.mark.parametrize("name", ["", ".", "..", "../net/eth0", "a b", "a:b", "a\0b", "\ud800", "sixteen-letters-"])
def test_what_can_be_no_name_is_not_looked_up(host: Netdevs, name: str) -> None:
    assert "is no name that a network device can have" in reason(host, name)


def test_a_vf_is_remembered_when_its_interface_has_gone(host: Netdevs, sysfs: Sysfs, tmp_path: Path) -> None:
    sysfs.vf(PF0, 3, VF3)
    sysfs.netdev("eth103", device=VF3)
    found = host.find("eth103")
    sysfs.remove("eth103")
    assert host.find("eth103") == found
    store = Store(tmp_path / "state")
    assert Netdevs(store, sysfs.root).find("eth103") == found, "in another process"
    store.close()
    sysfs.vf(PF0, 4, OTHER)
    sysfs.netdev("eth103", device=OTHER)
    assert host.find("eth103") == NetdevVf("eth103", OTHER, 4), "what is seen counts more"


def test_what_an_interface_stood_for_is_known_while_it_stands_for_nothing(host: Netdevs, sysfs: Sysfs) -> None:
    sysfs.vf(PF0, 3, VF3)
    sysfs.netdev("eth103", device=VF3)
    host.find("eth103")
    sysfs.remove("eth103")
    sysfs.netdev("eth103")
    assert "neither" in reason(host, "eth103")
    assert host.remembered("eth103") == NetdevVf("eth103", VF3, 3)


@pytest.mark.needs("root", "netns", "ethtool")
def test_bus_info_is_what_ethtool_prints() -> None:
    with Namespace() as namespace, VethWire(namespace, "10.99.0.1/24") as wire:
        for netdev in ("lo", wire.vf, *(path.name for path in Path("/sys/class/net").glob("e*"))):
            told = run(["ethtool", "-i", netdev], check=False).stdout
            line = next((line for line in told.splitlines() if line.startswith("bus-info:")), "bus-info:")
            assert ethtool_bus_info(netdev) == line.removeprefix("bus-info:").strip()
    assert ethtool_bus_info("none") == ""
