"""What commands print: JSON for programs, colour for a terminal, and plain text for everything else."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

STYLES = {"good": "green", "bad": "bold red", "warn": "yellow", "add": "green", "remove": "red", "change": "yellow"}


def emit(value: Any) -> None:
    """Prints a value as JSON."""
    print(json.dumps(value, indent=2))


def say(text: str = "", style: str | None = None) -> None:
    """Prints lines for a person, coloured on a terminal only."""
    if not sys.stdout.isatty():
        print(text)
        return
    from rich.console import Console
    from rich.text import Text

    Console(highlight=False, soft_wrap=True).print(Text(text, style=STYLES.get(style or "", "")))


def complain(text: str) -> None:
    """Says on standard error what is wrong; standard output is for what was asked for."""
    print(text, file=sys.stderr)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints rows under their columns' names. Plain text is aligned, and its last column is never cut."""
    if not sys.stdout.isatty():
        for line in plain_table(columns, rows):
            print(line)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))
    Console(highlight=False).print(drawn)


def plain_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table in plain text."""
    everything = [list(columns), *(list(row) for row in rows)]
    widths = [max(len(row[i]) for row in everything) for i in range(len(columns))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in everything]


def clock(seconds: float) -> str:
    """A time of day for a person, in the host's zone."""
    import time

    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
