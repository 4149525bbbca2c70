"""What people see on a terminal: tables within its width, numbers that stay short; and none of that when piped."""

from __future__ import annotations

import sys

import pytest

from reconciler.commands.status import PORT_NAMES, RELAY_NAMES
from reconciler.terminal.output import fitting, number, plain_table, table

COUNTERS = ("RELAY", "WAY", "RX", "RX BYTES", "TX", "TX BYTES", "NO GUEST", "GUEST FULL", "NO VF", "VF FULL", "MISSED")
LARGE = ("63", "VF to VM", "99.9M", "99.9G", "99.9M", "99.9G", "99.9M", "99.9M", "99.9M", "99.9M", "99.9M")
STATUS = RELAY_NAMES
LONG = ("63", "net_af_packet63", "down", "connected", "11, 12", "Degraded", "59 min", "its link is down")
PORT = ("63", "02:00:00:00:00:01", "9000", "yes", "1", "net_e1000_igb_vf")


def test_what_fits_is_left_as_it_is() -> None:
    assert fitting(("A", "LONG NAME"), [("1", "2")], 80) == (["A  LONG NAME"], ["1  2"])


def test_names_of_two_words_are_stacked_when_that_makes_it_fit() -> None:
    names, lines = fitting(COUNTERS, [LARGE], 80)
    assert [line.split() for line in names] == [
        ["RX", "TX", "NO", "GUEST", "NO", "VF"],
        ["RELAY", "WAY", "RX", "BYTES", "TX", "BYTES", "GUEST", "FULL", "VF", "FULL", "MISSED"],
    ]
    assert max(map(len, names + lines)) <= 80


def test_a_remark_goes_below_its_row() -> None:
    quiet = (*LONG[:-3], "Ready", "59 min", "")
    names, lines = fitting(STATUS, [LONG, quiet], 80)
    assert (len(names), len(lines)) == (1, 3)
    assert lines[1] == "    its link is down"
    assert max(map(len, names + lines)) <= 80
    assert lines[0].split()[:2] == ["63", "net_af_packet63"]


def test_the_tables_of_status_fit() -> None:
    remark = (*LONG[:-1], "this host has no PCI function 0000:05:08.1; it is used as soon as it appears, " * 3)
    for columns, row in ((RELAY_NAMES, remark), (PORT_NAMES, PORT)):
        names, lines = fitting(columns, [row], 80)
        assert max(map(len, names + lines)) <= 80


def test_piped_it_is_plain_and_whole(capsys: pytest.CaptureFixture[str]) -> None:
    table(STATUS, [LONG])
    assert capsys.readouterr().out.splitlines() == plain_table(STATUS, [LONG])
    assert number(12_345_678) == "12345678"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (99_999, "99999"), (100_000, "100k"), (999_499, "999k"), (999_600, "1M"), (12_345_678, "12.3M"),
     (1_500_000_000, "1.5G"), (7e12, "7T"), (9.9e15, "9900T")],
)  # fmt: skip
def test_numbers_on_a_terminal_are_short(monkeypatch: pytest.MonkeyPatch, value: float, shown: str) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert number(value) == shown
