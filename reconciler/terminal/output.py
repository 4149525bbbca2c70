"""What commands print: JSON for programs, colour for a terminal, and plain text for everything else."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import select
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from schema.system.logs import without_token

STYLES = {"good": "green", "bad": "bold red", "warn": "yellow", "add": "green", "remove": "red", "change": "yellow"}


STANDARD = ("stdin", "stdout", "stderr")
"""By their descriptors."""
_lost: dict[str, Exception] = {}
"""Where no more is written, and why it could not be."""
_later: list[str] = []
"""What is to follow on standard output once somebody reads again."""


def begin() -> None:
    """To be called before any file is opened: one that got the number of a closed standard output would be written to.
    What an encoding has no character for is shown by its number."""
    _lost.clear()
    _later.clear()
    for number, name in enumerate(STANDARD):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "r" if number == 0 else "w", encoding="utf-8", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def end() -> bool:
    """Whether all that was said could be. Python must not end with a complaint and a code of its own."""
    for line in _later:
        _write("stdout", line)
    _later.clear()
    for name in STANDARD[1:]:
        with _losing(name):
            getattr(sys, name).flush()
    reason = _lost.get("stdout")
    if isinstance(reason, OSError) and reason.errno != errno.EPIPE:  # who has seen enough knows it
        complain(f"standard output can't be written: {reason.strerror}")
    return not _lost


def heard() -> bool:
    """Whether somebody still reads standard output, after all that was said has been written."""
    with _losing("stdout"):
        sys.stdout.flush()
    return "stdout" not in _lost


@contextlib.contextmanager
def _losing(name: str) -> Iterator[None]:
    """What can't be written is said nowhere, and never decides what is done."""
    try:
        yield
    except (OSError, ValueError) as error:
        _lost.setdefault(name, error)
        with contextlib.suppress(OSError, ValueError):  # what is left in its buffer goes nowhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), getattr(sys, name).fileno())


def _write(name: str, text: str, last: str = "\n") -> None:
    if name not in _lost:
        with _losing(name):
            print(text, file=getattr(sys, name), end=last)


def emit(value: Any) -> None:
    """Prints a value as JSON, but for VF tokens."""
    _write("stdout", without_token(json.dumps(value, indent=2)))


def refuse(sentence: str, as_json: bool, **more: Any) -> None:
    """Says why nothing came of a command: for people on standard error, for programs also as JSON where they look for
    it."""
    complain(sentence)
    if as_json:
        emit({"error": sentence, **more})


def put(text: str) -> None:
    """Prints a file's text as it is, with no line's end but its own."""
    _write("stdout", text, last="")


def say(text: str = "", style: str | None = None) -> None:
    """Prints lines for a person, coloured on a terminal only, and without VF tokens."""
    text = without_token(text)
    if not sys.stdout.isatty():
        _write("stdout", text)
    elif "stdout" not in _lost:
        _say_on_terminal(text, STYLES.get(style or "", ""))


def _say_on_terminal(text: str, style: str) -> None:
    from rich.console import Console
    from rich.text import Text

    with _losing("stdout"):
        Console(highlight=False, soft_wrap=True).print(Text(text, style=style))


def say_meanwhile(text: str, style: str | None = None) -> None:
    """As `say`, while something is being done that must not wait for a reader: when there is no room, it is said at the
    end."""
    if _later or not _has_room():
        _later.append(text)
    else:
        say(text, style)
        heard()


def _has_room() -> bool:
    """For a few lines: a pipe or terminal that nobody reads any more is full some time."""
    try:
        waiting = select.poll()
        waiting.register(sys.stdout.fileno(), select.POLLOUT)
        return bool(waiting.poll(0))
    except (OSError, ValueError):
        return True


def complain(text: str) -> None:
    """Says on standard error what is wrong; standard output is for what was asked for."""
    _write("stderr", without_token(text))


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints rows under their columns' names. A terminal that is too narrow gets names of two words in two lines, and
    if that does not suffice, what stands in the last column below its row. Plain text is as wide as it is."""
    if not sys.stdout.isatty():
        _write("stdout", "\n".join(plain_table(columns, rows)))
        return
    from rich.console import Console
    from rich.text import Text

    if "stdout" in _lost:
        return
    console = Console(highlight=False, soft_wrap=True)
    names, lines = fitting(columns, rows, console.width)
    with _losing("stdout"):
        for style, part in (("bold", names), ("", lines)):
            for line in part:
                console.print(Text(line, style=style))


def fitting(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> tuple[list[str], list[str]]:
    """The lines of names and of rows, no wider than that where that is possible."""
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
