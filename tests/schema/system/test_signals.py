"""No signal ends what stays on the spot, but those that are meant to kill."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from schema.system.signals import ENDING, IGNORED
from tests.kit.paths import ROOT

STAYS = """
import os, sys, time
from schema.system.signals import obey
def say(text):
    os.write(1, text.encode() + b"\\n")  # a signal may come within print, which can't be entered twice
def end(number):
    say(f"end {int(number)}")
    os._exit(0)
obey(end, lambda: say("read anew"))
say("stays")
while True:
    time.sleep(60)
"""


@pytest.fixture
def stays() -> Iterator[subprocess.Popen[str]]:
    """A process without a terminal."""
    with start(start_new_session=True) as process:
        yield process
        process.kill()


def start(line: tuple[str, ...] = (), **how: object) -> subprocess.Popen[str]:
    command = [*line, sys.executable, "-c", STAYS]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, **how)  # type: ignore[call-overload]
    assert heard(process) == "stays"
    return process  # type: ignore[no-any-return]


def heard(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_what_means_nothing_does_nothing_and_a_hangup_without_a_terminal_reads_anew(
    stays: subprocess.Popen[str],
) -> None:
    for number in IGNORED:
        stays.send_signal(number)
    stays.send_signal(signal.SIGHUP)
    assert heard(stays) == "read anew"
    stays.terminate()
    assert heard(stays) == f"end {int(signal.SIGTERM)}"


@pytest.mark.parametrize("number", sorted(ENDING))
def test_what_ends_it_lets_it_end_in_order(number: signal.Signals, stays: subprocess.Popen[str]) -> None:
    stays.send_signal(number)
    assert heard(stays) == f"end {int(number)}"


def test_under_nohup_a_hangup_stays_ignored() -> None:
    with start(("nohup",), start_new_session=True) as process:
        process.send_signal(signal.SIGHUP)
        process.terminate()
        assert heard(process) == f"end {int(signal.SIGTERM)}"


def test_a_terminal_that_is_closed_ends_it() -> None:
    """Its session's leader hears of that from the kernel."""
    reads, writes = os.pipe()
    child, terminal = pty.fork()
    if child == 0:
        os.dup2(writes, 1)
        os.execv(sys.executable, [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{STAYS}"])
    os.close(writes)
    with os.fdopen(reads) as said:
        assert said.readline() == "stays\n"
        os.close(terminal)
        assert said.readline() == f"end {int(signal.SIGHUP)}\n"
    os.waitpid(child, 0)
