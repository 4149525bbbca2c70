"""Which devices have their carrier read, and what it says when the interface is down or gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.dataplane import carrier


@pytest.fixture
def interfaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fake /sys/class/net: `up` has a carrier, `down` has none, `off` is not up."""
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


class Kernel:
    """Numbers of interfaces by name."""

    def __init__(self, **interfaces: int) -> None:
        self.interfaces = interfaces
        self.seen = carrier.Interfaces(self._index_of, self._name_of)

    def _index_of(self, name: str) -> int:
        if name not in self.interfaces:
            raise OSError(name)
        return self.interfaces[name]

    def _name_of(self, index: int) -> str:
        for name, known in self.interfaces.items():
            if known == index:
                return name
        raise OSError(index)


def test_an_interface_is_gone_once_when_it_is_removed_or_replaced() -> None:
    devices = ["net_af_packet0,iface=v0", "net_tap1,iface=v1", "0000:05:08.1", "net_null0"]
    kernel = Kernel(v0=1, v1=2)
    assert kernel.seen.gone(devices) == kernel.seen.gone(devices) == []
    kernel.interfaces = {"v1": 7}
    assert kernel.seen.gone(devices) == devices[:2]
    assert kernel.seen.gone(devices[2:]) == []
    kernel.interfaces["v0"] = 8
    assert kernel.seen.gone(devices) == []


def test_what_is_attached_anew_may_lie_on_another_interface() -> None:
    device, kernel = "net_af_packet0,iface=v0", Kernel(v0=1)
    assert kernel.seen.gone([device]) == []
    kernel.interfaces["v0"] = 2
    kernel.seen.note([device])
    assert kernel.seen.gone([device]) == []


def test_an_interface_that_is_renamed_is_not_gone() -> None:
    device, kernel = "net_af_packet0,iface=v0", Kernel(v0=1)
    kernel.seen.note([device])
    kernel.interfaces = {"w0": 1}
    assert (kernel.seen.gone([device]), kernel.seen.renamed) == ([], {device: "w0"})
    kernel.interfaces = {"x0": 1}
    assert (kernel.seen.gone([device]), kernel.seen.renamed) == ([], {device: "x0"})
    kernel.interfaces = {"v0": 1}
    assert (kernel.seen.gone([device]), kernel.seen.renamed) == ([], {})
    kernel.interfaces = {"w0": 1, "v0": 2}  # its name is another's by now, which the spec means
    assert (kernel.seen.gone([device]), kernel.seen.renamed) == ([device], {})


def test_one_interface_is_known_by_whatever_name() -> None:
    devices, kernel = ["net_af_packet0,iface=v0", "net_null0"], Kernel(v0=1, alias=1, v1=2)
    kernel.seen.note(devices)
    assert kernel.seen.same("net_tap1,iface=alias", devices) == devices[0]
    assert kernel.seen.same("net_tap1,iface=v1", devices) == ""
    assert kernel.seen.same("net_null1", devices) == ""
    assert kernel.seen.same("net_tap1,iface=v2", devices) == ""
