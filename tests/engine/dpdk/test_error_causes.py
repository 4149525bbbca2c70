"""What is said of DPDK's errors: what is wrong and what to do, and never a number alone."""

from __future__ import annotations

import ast
import errno
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.dpdk.error_causes import GIVEN, why
from engine.dpdk.library import DpdkError
from reconciler.host.refusal import REMEDIES
from tests.kit.paths import ROOT

PROBE = "rte_dev_probe(x)"


@pytest.mark.parametrize(
    ("device", "code", "kind", "sentence"),
    [
        (
            "net_af_packet0,iface=nosuch0",
            1,
            "failed",
            "this host has no network interface nosuch0",
        ),
        ("net_af_xdp0,iface=nosuch0", 1, "failed", "this host has no network interface nosuch0"),
        ("net_af_packet0", 1, "bad-request", "polls a network interface: name it, as in net_af_packet0,iface=eth1"),
        ("net_af_packet0,iface=lo,framesz=100", 1, "failed", "the driver net_af_packet did not take it as it stands"),
        ("net_tap0,iface=lo", errno.EINVAL, "exists", "the network interface lo exists already and is no tap device"),
        (
            "net_memif0,socket=/nosuch/x",
            errno.EINVAL,
            "failed",
            "the directory /nosuch of /nosuch/x is not there",
        ),
        ("net_foo0", errno.EFAULT, "unsupported", "this DPDK has no driver net_foo: check the name, or install"),
        ("0000:fe:1f.7", errno.EBUSY, "in-use", "another process has it, or another function of its IOMMU group"),
        ("0000:fe:1f.7", errno.ENOTSUP, "no-device", "no driver of this DPDK takes it: check with lspci -D"),
        ("0000:fe:1f.7", 1, "failed", "it may be in use by another process, or need engine.vfio_vf_token"),
    ],
)
def test_what_cannot_be_attached(device: str, code: int, kind: str, sentence: str) -> None:
    found = why(DpdkError(PROBE, -code), device)
    assert (found.code, sentence in found.sentence) == (kind, True), found


def test_no_argument_is_repeated_as_some_are_secret() -> None:
    found = why(DpdkError("rte_dev_probe(net_memif0,secret=hush)", -1), "net_memif0,secret=hush")
    assert "hush" not in found.sentence


def test_a_number_that_nobody_has_foreseen_is_named() -> None:
    found = why(DpdkError("rte_eth_dev_configure", -errno.EXDEV))
    assert found.sentence == (
        "DPDK refused; the engine's log says more (rte_eth_dev_configure gave 18, Invalid cross-device link)"
    )


def test_every_sentence_says_more_than_a_number_and_has_a_known_code() -> None:
    for (call, code), found in GIVEN.items():
        said = why(DpdkError(f"{call} failed", -(code or errno.EXDEV)))
        assert found.code in REMEDIES
        assert "{" not in said.sentence
        assert found.sentence[0].islower() or found.sentence.startswith("DPDK"), (call, code)


def test_every_function_that_is_in_the_table_is_called() -> None:
    called = "".join(path.read_text() for path in Path(ROOT, "engine", "dpdk").glob("*.py"))
    for call in {call for call, _ in GIVEN if call}:
        assert call.removesuffix(" of a PCI function").removesuffix(" of a virtual device") in called


def test_no_text_of_the_engines_shows_an_error_as_dpdk_gives_it() -> None:
    """Neither in an answer nor in the log: each goes through `why`."""
    assert [path.name for path in Path(ROOT, "engine").glob("*.py") if any(_shown_raw(path))] == []


def _shown_raw(path: Path) -> Iterator[bool]:
    for caught in ast.walk(ast.parse(path.read_text())):
        if isinstance(caught, ast.ExceptHandler) and caught.name and caught.type:
            body = "".join(ast.unparse(each) for each in caught.body)
            logged = re.search(rf"log\.\w+\([^()]*, {caught.name}\)", body) is not None
            yield "DpdkError" in ast.unparse(caught.type) and (f"{{{caught.name}}}" in body or logged)
