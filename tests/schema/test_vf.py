"""How a VF may be written."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema.model import Port
from schema.rules.check import schema
from schema.vf import parse_vf


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ("0000:05:08.1", Port("0000:05:08.1")),
        ("05:08.1", Port("0000:05:08.1")),
        ("0000:AF:1F.7", Port("0000:af:1f.7")),
        ("00000001:05:08.1", Port("0001:05:08.1")),
        ("10000:05:08.1", Port("10000:05:08.1")),
        ("ffff:ff:00.0", Port("ffff:ff:00.0")),
        ("net_null0", Port("net_null0")),
        ("net_null0,size=64", Port("net_null0", "size=64")),
        ("net_af_packet12,iface=veth1,blocksz=4096", Port("net_af_packet12", "iface=veth1,blocksz=4096")),
        ("net_" + "a" * 58 + "0", Port("net_" + "a" * 58 + "0")),
    ],
)
def test_what_is_a_vf(text: str, port: Port) -> None:
    assert parse_vf(text) == port


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "neither a PCI address"),
        ("eth0", "neither a PCI address"),
        ("308.1", "neither a PCI address"),
        ("00:11:22:33:44:55", "no PCI address"),
        ("0000:05:08", "no PCI address"),
        ("0000:5:8.1", "no PCI address"),
        ("000:05:08.1", "no PCI address"),
        ("0000:05:20.0", "slot 20"),
        ("0000:05:1f.8", "function 8"),
        ("0000:05:1f.10", "function 10"),
        ("0000:05:08.1 ", "spaces"),
        ("0000:05:08.1\n", "spaces"),
        ("net_null", "no name of a DPDK virtual device"),
        ("net_Null0", "no name of a DPDK virtual device"),
        ("net_0", "no name of a DPDK virtual device"),
        ("net_null0x", "no name of a DPDK virtual device"),
        ("net_null0,", "nothing follows the comma"),
        ("net_null0, size=64", "spaces"),
        ("net_" + "a" * 59 + "0", "up to 63"),
        ("net_null٣", "no name of a DPDK virtual device"),
    ],
)
def test_what_is_none(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_vf(text)


NEARLY_PCI = st.from_regex(r"\A[0-9a-fA-F]{0,5}:?[0-9a-fA-F]{1,3}:[012][0-9a-fA-F]\.[0-9]\Z")


@given(NEARLY_PCI | st.text("net_a0,=: x", max_size=80))
def test_the_schema_and_the_parser_agree(text: str) -> None:
    try:
        parse_vf(text)
        parsed = True
    except ValueError:
        parsed = False
    assert parsed == bool(re.search(schema()["$defs"]["vf"]["pattern"], text))
