"""What is logged is never waited for, whatever becomes of who reads it."""

from __future__ import annotations

import logging
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from schema.system.logs import LogWriter
from tests.kit.waiting import wait_for

KEPT = 50


@pytest.fixture
def ends() -> Iterator[list[int]]:
    """Both ends of a pipe, the reading one first."""
    made = list(os.pipe())
    yield made
    for each in made:
        os.close(each)


def logger(writer: LogWriter) -> logging.Logger:
    made = logging.Logger("vio4wd.test")
    made.addHandler(writer)
    return made


def test_what_is_said_is_written_in_order(ends: list[int]) -> None:
    writer = LogWriter(ends[1])
    log = logger(writer)
    log.warning("first %s", 1)
    log.warning("second")
    writer.flush()
    assert os.read(ends[0], 1000) == b"first 1\nsecond\n"


def test_while_nobody_reads_it_is_dropped_and_the_number_is_said(ends: list[int]) -> None:
    """Nothing here waits: with a writer that does, this test does not end."""
    writer = LogWriter(ends[1], KEPT)
    log = logger(writer)
    count = 3000
    for number in range(count):
        log.warning("%d %s", number, "#" * 100)
    said = b""
    while said.count(b"#\n") + sum(map(int, re.findall(rb"(\d+) messages were dropped", said))) < count:
        said += os.read(ends[0], 65536)
    assert b"messages were dropped" in said
    wait_for("a fresh count", lambda: writer.dropped == 0)


def test_a_reader_that_has_gone_costs_nothing_but_the_messages(tmp_path: Path) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    writer = LogWriter(writes)
    log = logger(writer)
    log.warning("lost")
    writer.flush()
    assert writer.dropped == 1
    whole = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    os.dup2(whole, writes)
    log.warning("there again")
    wait_for("how many were lost", lambda: b"1 messages were dropped" in (tmp_path / "log").read_bytes())
    for each in (whole, writes):
        os.close(each)


def test_what_can_not_be_put_into_words_is_said(ends: list[int], capfd: pytest.CaptureFixture[str]) -> None:
    writer = LogWriter(ends[1])
    log = logger(writer)
    log.warning("%d", "no number")
    log.warning("%s", "half a character: \udc80")
    writer.flush()
    said = os.read(ends[0], 4000)
    assert b"can't be put into words" in said
    assert b"\\udc80" in said
    assert capfd.readouterr().err == ""


def test_signals_reach_the_main_thread_alone(ends: list[int]) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    writer = LogWriter(ends[1])
    status = Path(f"/proc/self/task/{writer._thread.native_id}/status").read_text()
    blocked = int(re.findall(r"SigBlk:\s*(\w+)", status)[0], 16)
    assert blocked & 1 << signal.SIGTERM - 1
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
