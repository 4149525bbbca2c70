"""Where memory lies, by what the kernel says."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.burst.compiled.memory import Block
from engine.dataplane import pci as numa


def host_with(nodes: int, path: Path) -> Path:
    for node in range(nodes):
        (path / f"node{node}").mkdir()
    (path / "online").write_text("0\n")
    return path


def test_on_a_host_with_one_node_nothing_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numa, "NODES", host_with(1, tmp_path))
    found = numa.Numa()
    assert not found.several
    assert found.node_of(Block(64).address) is None


def test_the_kernel_knows_and_any_address_may_be_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That there are two nodes is made up; where a page lies is what the kernel says of this machine."""
    monkeypatch.setattr(numa, "NODES", host_with(2, tmp_path))
    found, block = numa.Numa(), Block(64)
    if found.node_of(block.address) is None:
        pytest.skip("needs libnuma, and a kernel with NUMA")
    block.write(0, 1)
    assert found.several
    assert found.node_of(block.address) in range(1024)
    for nowhere in (0, 8, 1 << 46, -1):
        assert found.node_of(nowhere) is None
