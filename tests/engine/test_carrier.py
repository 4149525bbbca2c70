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
