"""What is wrong with a spec, where, and what to do: a sentence with a position."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

LONGEST = 1000


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One sentence about one place of a file. Lines and columns count from 1, as editors do."""

    file: str
    line: int
    column: int
    path: str
    """Where in the document: `relays[1].vf`. Empty when it is about the file as a whole."""
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}: "
        return f"{where}{self.path}: {self.message}" if self.path else where + self.message


MAX_PROBLEMS = 100
"""That are said at once; nobody mends more before trying again."""


class SpecError(Exception):
    """A spec was refused; `problems` says why, in the order of the file, and is never empty. Of very many the first."""

    problems: tuple[Problem, ...]

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = _first(sorted(set(problems)))
        if not self.problems:
            raise ValueError("a SpecError needs at least one problem")
        super().__init__("\n".join(str(problem) for problem in self.problems))


def _first(problems: list[Problem]) -> tuple[Problem, ...]:
    if len(problems) <= MAX_PROBLEMS:
        return tuple(problems)
    there = problems[MAX_PROBLEMS]
    more = f"from here on there are {len(problems) - MAX_PROBLEMS:,} more problems, not shown; mend the others"
    return (*problems[:MAX_PROBLEMS], Problem(there.file, there.line, there.column, "", more))


def shown(name: str | bytes, longest: int = LONGEST) -> str:
    """On one line: what can't be seen, or is no character, as its escape; cut where it is too long."""
    text = name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name
    line = "".join(character if character.isprintable() else _escaped(character) for character in text[: longest + 1])
    return line if len(line) <= longest else f"{line[: longest - 3]}..."


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
