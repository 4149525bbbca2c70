"""What commands print: JSON for programs, colour for a terminal, and plain text for everything else."""

from __future__ import annotations

import contextlib
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
    """Says on standard error what is wrong; standard output is for what was asked for. That nobody reads it any more is
    no reason to leave off in the middle."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints rows under their columns' names. A terminal that is too narrow gets names of two words in two lines, and
    if that does not suffice, what stands in the last column below its row. Plain text is as wide as it is."""
    if not sys.stdout.isatty():
        print("\n".join(plain_table(columns, rows)))
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    names, lines = fitting(columns, rows, console.width)
    for style, part in (("bold", names), ("", lines)):
        for line in part:
            console.print(Text(line, style=style))


def fitting(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> tuple[list[str], list[str]]:
    """The lines of names and of rows, no wider than that where it can be had."""
    import textwrap

    name, *lines = plain_table(columns, rows)
    if max(map(len, (name, *lines))) <= width:
        return [name], lines
    words = [column.partition(" ") for column in columns]
    stacked = [[first if second else "" for first, _, second in words], [second or first for first, _, second in words]]
    upper, lower, *lines = plain_table(stacked[0], [stacked[1], *rows])
    names = [line for line in (upper, lower) if line]
    if max(map(len, (*names, *lines))) <= width:
        return names, lines
    lower, *lines = plain_table(stacked[1][:-1], [row[:-1] for row in rows])
    remarks = [textwrap.wrap(row[-1], width, initial_indent="    ", subsequent_indent="    ") for row in rows]
    return [lower], [line for pair in zip(lines, remarks, strict=True) for line in (pair[0], *pair[1])]


def number(value: float) -> str:
    """A number exactly, or on a terminal with three digits and a prefix where that is shorter: 12.3M."""
    if not sys.stdout.isatty() or value < 100_000:
        return f"{value:.0f}"
    rounded = float(f"{value:.3g}")
    thousands = min(4, (len(f"{rounded:.0f}") - 1) // 3)
    return f"{rounded / 1000**thousands:.4g}{' kMGT'[thousands]}"


def plain_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table in plain text."""
    everything = [list(columns), *(list(row) for row in rows)]
    widths = [max(len(row[i]) for row in everything) for i in range(len(columns))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in everything]


def clock(seconds: float) -> str:
    """A time of day for a person, in the host's zone."""
    import time

    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def ago(since: float | None) -> str:
    """How long something has been so, for a person: `40 s`, `5 min`, `3 h`, `12 d`; `-` when that is not known."""
    import time

    if since is None:
        return "-"
    seconds = max(0, int(time.time() - since))
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
