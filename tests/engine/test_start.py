"""What an engine waits for before it takes its memory, and what does not end it later."""

from __future__ import annotations

import json
import logging
import signal
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from engine.api import parameters
from engine.api.client import EngineClient
from engine.dpdk import eal
from engine.process import EngineProcess, hugepages_come
from reconciler.observe.engine_start import write_engine_parameters
from schema.model import Pages, State
from schema.paths import engine_parameters, engine_socket
from tests.kit.instance import Instance
from tests.kit.runner import own_process
from tests.kit.waiting import wait_for


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


def test_told_to_end_while_it_waits_for_them_it_ends_in_peace() -> None:
    own_process.require_dpdk()
    with Instance() as instance:
        engine = instance.start("engine")
        wait_for("the engine to answer", engine_socket(instance.run_dir).exists)
        with EngineClient(instance.run_dir) as client:
            assert client.hello().state == "starting"
        engine.send_signal(signal.SIGTERM)
        assert engine.wait(60) == 0
        assert "written by" not in instance.log


def test_what_nobody_has_foreseen_ends_nothing_and_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """The fault is made up: none is known that gets so far."""
    process, core = EngineProcess.__new__(EngineProcess), MagicMock()
    process._trouble = ""
    core.housekeeping.side_effect = [OSError("broken"), OSError("broken"), None, OSError("broken"), ValueError("else")]
    with caplog.at_level(logging.ERROR):
        for _ in range(5):
            process._housekeeping(core)
    assert len(caplog.records) == 3
