"""Which devices have their carrier read, and what it says when the interface is down or gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine import carrier


@pytest.fixture
def interfaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for /sys/class/net: `up` has a carrier, `down` has none, `off` is not up."""
    for name, text in (("up", "1\n"), ("down", "0\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "carrier").write_text(text)
    (tmp_path / "off" / "carrier").mkdir(parents=True)  # reading it is an error, as with an interface that is not up
    monkeypatch.setattr(carrier, "_NETWORK", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("device", "wanted"),
    [
        ("net_af_packet0,iface=up", True),
        ("net_af_packet0,iface=down", False),
        ("net_af_packet0,iface=off", False),
        ("net_af_packet0,iface=gone", False),
        ("net_af_packet0,qpairs=1,iface=up", True),
        ("net_tap7,iface=down", False),
        ("net_tap7", None),
        ("net_null0,size=64", None),
        ("0000:05:08.1", None),
    ],
)
def test_carrier(interfaces: Path, device: str, wanted: bool | None) -> None:
    assert interfaces.is_dir()
    assert carrier.carrier(device) is wanted


def test_news_are_taken_without_waiting() -> None:
    news = carrier.LinkNews()
    try:
        news.take()
        news.take()
    finally:
        news.close()


def lay(network: Path, interface: str, index: int) -> None:
    (network / interface).mkdir(exist_ok=True)
    (network / interface / "ifindex").write_text(f"{index}\n")


def test_an_interface_is_gone_once_when_it_is_removed_or_replaced(tmp_path: Path) -> None:
    devices = ["net_af_packet0,iface=v0", "net_tap1,iface=v1", "0000:05:08.1", "net_null0"]
    interfaces = carrier.Interfaces(tmp_path)
    for number in (0, 1):
        lay(tmp_path, f"v{number}", number)
    assert interfaces.gone(devices) == interfaces.gone(devices) == []
    (tmp_path / "v0" / "ifindex").unlink()
    lay(tmp_path, "v1", 7)
    assert interfaces.gone(devices) == devices[:2]
    assert interfaces.gone(devices[2:]) == []
    lay(tmp_path, "v0", 8)
    assert interfaces.gone(devices) == []


def test_what_is_attached_anew_may_lie_on_another_interface(tmp_path: Path) -> None:
    device, interfaces = "net_af_packet0,iface=v0", carrier.Interfaces(tmp_path)
    lay(tmp_path, "v0", 1)
    assert interfaces.gone([device]) == []
    lay(tmp_path, "v0", 2)
    interfaces.forget([device])
    assert interfaces.gone([device]) == []
