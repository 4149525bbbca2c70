"""Assignments in a shell fragment, such as /etc/default/virtioforwarder: read as bash reads them, never executed.

Understood are words with quotes, backslashes and continued lines, arrays, `+=`, `export`, comments, and `$NAME` of
what the fragment itself has assigned. Everything else of bash is named in a remark and leaves no trace.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(\+?)=")
_REFERENCE = re.compile(r"\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})")
_DECLARATION = re.compile(r"(?:export|declare|typeset|readonly)(?=[\s\0;]|$)")
_BREAKS = " \t\n;&|()<>"


@dataclass(frozen=True, slots=True)
class Value:
    """What a variable was last given."""

    words: tuple[str, ...]
    """One for a plain variable, any number for an array."""
    line: int
    """Where, counted from 1."""
    array: bool = False

    @property
    def text(self) -> str:
        """As bash expands `$NAME`: of an array its first word."""
        return self.words[0] if self.words else ""


@dataclass(frozen=True, slots=True)
class Fragment:
    """What a shell fragment assigns, and what of it was not understood."""

    values: dict[str, Value] = field(default_factory=dict)
    remarks: tuple[tuple[int, str], ...] = ()
    """Line and sentence."""


def read_fragment(text: str) -> Fragment:
    """Reads a shell fragment. Raises nothing: what can't be read becomes a remark."""
    reader = _Reader(text)
    reader.read()
    return Fragment(reader.values, tuple(reader.remarks))


class _Foreign(Exception):  # noqa: N818 - something that only a shell can do
    """What stands here needs a shell."""


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text.replace("\r\n", "\n").replace("\\\n", "\0")  # a continued line ends nothing, but counts
        self.at = 0
        self.values: dict[str, Value] = {}
        self.remarks: list[tuple[int, str]] = []

    def read(self) -> None:
        while self._skip(" \t\n;\0"):
            line, before = self._line(), dict(self.values)
            try:
                self._statement()
            except _Foreign as foreign:
                self.values = before
                self.remarks.append((line, f"{foreign}; nothing is executed, and nothing is taken from this line"))
                self._past_line()

    def _statement(self) -> None:
        line = self._line()
        declared = _DECLARATION.match(self.text, self.at)
        if declared is not None:
            self.at = declared.end()
        while self._skip(" \t\0") and self._peek() not in "\n;":
            found = _ASSIGNMENT.match(self.text, self.at)
            if found is not None:
                self.at = found.end()
                self._assign(found[1], bool(found[2]), line)
                continue
            word = self._word()
            if declared is None:
                raise _Foreign(f"'{_shorten(word)}' is a command")

    def _assign(self, name: str, more: bool, line: int) -> None:
        array = self._peek() == "("
        value = Value(self._array() if array else (self._word(),), line, array)
        before = self.values.get(name)
        if more and before is not None:
            words = before.words + value.words if value.array else (before.text + value.text, *before.words[1:])
            value = Value(words, line, before.array or value.array)
        self.values[name] = value

    def _array(self) -> tuple[str, ...]:
        self.at += 1
        words = []
        while self._skip(" \t\n\0") and self._peek() != ")":
            if self._peek() == "[":
                raise _Foreign("an array with subscripts stands here")
            if self._peek() in _BREAKS:
                raise _Foreign(f"'{self._peek()}' has a meaning to a shell here")
            words.append(self._word())
        if not self._peek():
            raise _Foreign("an array is opened and never closed")
        self.at += 1
        return tuple(words)

    def _word(self) -> str:
        """One word, its quotes removed. Raises _Foreign."""
        parts = []
        while (character := self._peek()) and character not in _BREAKS:
            parts.append(self._piece(character))
        if not parts and (character := self._peek()) not in ("", "\n", ";", " ", "\t", "\0"):
            raise _Foreign(f"'{character}' has a meaning to a shell here")
        return "".join(parts)

    def _piece(self, character: str) -> str:
        if character == "'":
            return self._until("'")
        if character == '"':
            return self._quoted()
        if character == "$":
            return self._reference()
        if character == "`":
            raise _Foreign("a command stands in backquotes")
        self.at += 1
        if character == "\\":
            self.at += 1
            return self.text[self.at - 1 : self.at]
        return "" if character == "\0" else character

    def _quoted(self) -> str:
        self.at += 1
        parts = []
        while (character := self._peek()) != '"':
            if not character:
                raise _Foreign("a quote is opened and never closed")
            if character == "\\" and self.text[self.at + 1 : self.at + 2] in tuple('"\\$`'):
                parts.append(self.text[self.at + 1])
                self.at += 2
            elif character in "$`":
                parts.append(self._piece(character))
            else:
                parts.append("" if character == "\0" else character)
                self.at += 1
        self.at += 1
        return "".join(parts)

    def _until(self, quote: str) -> str:
        end = self.text.find(quote, self.at + 1)
        if end < 0:
            raise _Foreign("a quote is opened and never closed")
        inside, self.at = self.text[self.at + 1 : end], end + 1
        return inside.replace("\0", "\\\n")

    def _reference(self) -> str:
        found = _REFERENCE.match(self.text, self.at)
        if found is None:
            if self.text[self.at + 1 : self.at + 2] in tuple("({'"):
                raise _Foreign("an expansion stands here that only a shell can do")
            self.at += 1
            return "$"
        name = found[1] or found[2]
        if name not in self.values:
            raise _Foreign(f"${name} is not set in this file")
        self.at = found.end()
        return self.values[name].text

    def _skip(self, characters: str) -> bool:
        """Past these and comments; whether anything is left."""
        while (character := self._peek()) and (character in characters or character == "#"):
            end = self.text.find("\n", self.at) if character == "#" else self.at + 1
            self.at = end if end >= 0 else len(self.text)
        return bool(self._peek())

    def _past_line(self) -> None:
        end = self.text.find("\n", self.at)
        self.at = end if end >= 0 else len(self.text)

    def _peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def _line(self) -> int:
        return 1 + sum(self.text.count(mark, 0, self.at) for mark in "\n\0")


def _shorten(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."
