"""A YAML document as a tree that knows where everything stands, and what is wrong with it, with the place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

LONGEST = 1000
MAX_PROBLEMS = 100
"""That are said at once; nobody mends more before trying again."""

Path = tuple[str | int, ...]
"""Keys and list positions from the root: `("relays", 1, "vf")`."""


@dataclass(frozen=True, slots=True)
class Place:
    """Line and column, both from 1."""

    line: int
    column: int
    file: str = ""
    """Where several files were merged into one document: the one that this comes from."""
    index: int | None = None
    """An item's position in the list of its own file, where lists were merged."""


@dataclass(frozen=True, slots=True)
class Scalar:
    place: Place
    value: Plain
    text: str
    """As it was written, without quotes."""
    quoted: bool


@dataclass(slots=True)
class Sequence:
    place: Place
    items: list[Node] = field(default_factory=list)


@dataclass(slots=True)
class Mapping:
    place: Place
    entries: dict[str, Node] = field(default_factory=dict)
    key_places: dict[str, Place] = field(default_factory=dict)


Node = Scalar | Sequence | Mapping


@dataclass(frozen=True, slots=True)
class Document:
    """The tree of one file."""

    file: str
    root: Node
    values: int = 0
    """How many it holds, each alias counted as what it stands for; 0 for what was made of several."""

    def at(self, path: Iterable[str | int]) -> Node | None:
        """The node at this path, or None where the document has none."""
        node: Node | None = self.root
        for step in path:
            node = _child(node, step)
        return node

    def place(self, path: Path) -> Place:
        """Where the value at this path stands, or the nearest value around it that was written."""
        while (node := self.at(path)) is None:
            path = path[:-1]
        return node.place

    def key_place(self, path: Path) -> Place:
        """Where the key that ends this path stands."""
        parent = self.at(path[:-1])
        if isinstance(parent, Mapping) and path[-1] in parent.key_places:
            return parent.key_places[str(path[-1])]
        return self.place(path)

    def problem(self, path: Path, message: str, place: Place | None = None) -> Problem:
        """A problem at this path, at its value's place unless another is given."""
        where = place or self.place(path)
        return Problem(where.file or self.file, where.line, where.column, dotted(self.as_written(path)), message)

    def as_written(self, path: Path) -> Path:
        """The path as it is in the file that it comes from."""
        item = self.at(path[:2])
        if item is None or item.place.index is None:
            return path
        return (path[0], item.place.index, *path[2:])


def _child(node: Node | None, step: str | int) -> Node | None:
    if isinstance(node, Mapping) and isinstance(step, str):
        return node.entries.get(step)
    if isinstance(node, Sequence) and isinstance(step, int) and step < len(node.items):
        return node.items[step]
    return None


def dotted(path: Path) -> str:
    """The path as people write it: `relays[1].vf`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{shorten(step)}" if text else shorten(step)
    return text


def shorten(text: str, length: int = 40) -> str:
    """The text on one line, without control characters, cut to `length` characters."""
    shown = "".join(character if character.isprintable() else "?" for character in text)
    return shown if len(shown) <= length else shown[: length - 3] + "..."


def plain(node: Node) -> Any:
    """The tree as lists, dicts and scalars, as JSON would give them."""
    if isinstance(node, Mapping):
        return {key: plain(value) for key, value in node.entries.items()}
    if isinstance(node, Sequence):
        return [plain(item) for item in node.items]
    return node.value


Plain = str | int | float | bool | None


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
