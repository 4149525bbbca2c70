"""What an engine waits for before it takes its memory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine import parameters
from engine.dpdk import eal
from engine.process import hugepages_come
from reconciler.files import write_engine_parameters
from schema.model import Pages, State
from schema.paths import engine_parameters


def test_pages_that_are_to_come_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The count is played: this host's pages are others' too."""
    counts = iter([0, 0, 7])
    monkeypatch.setattr(eal, "free_hugepages", lambda: next(counts))
    assert hugepages_come(60.0, lambda: False)


def test_but_not_for_ever_and_not_by_one_who_is_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eal, "free_hugepages", lambda: 0)
    assert not hugepages_come(0.0, lambda: False)
    assert not hugepages_come(60.0, lambda: True)


def test_its_parameters_say_whether_pages_will_come(tmp_path: Path) -> None:
    path = engine_parameters(tmp_path, 0)
    for pages, expected in ((Pages("2M", 5), True), (Pages("2M", 0), False)):
        write_engine_parameters(tmp_path, State(pages={"2M": pages}))
        assert parameters.read(path).hugepages is expected
    older = {name: value for name, value in json.loads(path.read_text()).items() if name != "hugepages"}
    path.write_text(json.dumps(older))
    assert not parameters.read(path).hugepages
