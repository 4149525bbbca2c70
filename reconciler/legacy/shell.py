"""Assignments in a shell fragment, such as /etc/default/virtioforwarder: read as bash reads them, never executed.

Understood are words with quotes, backslashes and continued lines, arrays, `+=`, `export` and its like, comments, and
`$NAME` of what the fragment itself has assigned; of commands a few that change no variable. A fragment with anything
else is `foreign`: what bash would make of all of it then, only bash can tell. bash(1) is the source of every rule here,
and tests compare each with what bash does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(\+?)=")
_DECLARATION = re.compile(r"(export|readonly|declare|typeset)(?=[\s;]|$)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_REFERENCE = re.compile(r"\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})")
_OPTIONS = {"export": "", "readonly": "a", "declare": "agx", "typeset": "agx"}
"""Declarations, with those of their options that change no value."""
HARMLESS = frozenset((":", "true", "echo", "ulimit", "umask", "mkdir", "chmod", "chown", "touch", "modprobe", "logger"))
"""Commands that change no variable, as they stand in such files."""
BASHS_OWN = re.compile(
    "BASH.*|DIRSTACK|EPOCHREALTIME|EPOCHSECONDS|EUID|FUNCNAME|GLOBIGNORE|GROUPS|HISTCMD|HOME|IFS|LINENO|OPTARG|OPTIND"
    "|PIPESTATUS|POSIXLY_CORRECT|PPID|RANDOM|SECONDS|SHELLOPTS|SRANDOM|UID|_"
)
"""Variables that can't be given a value, have another one at each look, or change how words are read."""
_BLANK = " \t"
_BREAKS = " \t\n;&|()<>"
_GLOB = "*?[{"
"""What makes several words of one: names of files, and braces."""
_SPECIAL = "0123456789@*#?$!-[("
"""After `$`: what is the shell's own, or counts."""


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
    """What a shell fragment assigns, as far as nothing is foreign."""

    values: dict[str, Value] = field(default_factory=dict)
    remarks: tuple[tuple[int, str], ...] = ()
    """Line and sentence: what changes nothing here."""
    foreign: tuple[tuple[int, str], ...] = ()
    """Line and sentence: what needs a shell."""


def read_fragment(text: str) -> Fragment:
    """Reads a shell fragment. Raises nothing: what can't be read is in `foreign`."""
    reader = _Reader(text)
    reader.read()
    return Fragment(reader.values, tuple(reader.remarks), tuple(reader.foreign))


class _Foreign(Exception):  # noqa: N818 - something that only a shell can do
    """What stands here needs a shell."""


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.values: dict[str, Value] = {}
        self.remarks: list[tuple[int, str]] = []
        self.foreign: list[tuple[int, str]] = []
        self._constant: set[str] = set()
        """What `readonly` has named: a further assignment would end the reading of the file."""
        self._fresh: set[str] = set()
        """What this declaration has assigned: bash expands all of its words before."""
        self._counted = (0, 1)

    def read(self) -> None:
        while self._skip(_BLANK + "\n"):
            line = self._line()
            try:
                self._statement(line)
                self._end()
            except _Foreign as foreign:
                self.foreign.append((line, str(foreign)))
                self._past_line()

    def _statement(self, line: int) -> None:
        if _ASSIGNMENT.match(self.text, self.at) is not None:
            self._assignments(line)
            return
        if self._peek() == ";":
            raise _Foreign("';' has a meaning to a shell here")
        declaration = _DECLARATION.match(self.text, self.at)
        if declaration is not None:
            self.at = declaration.end()
            self._declaration(declaration[1], line)
            return
        word = self._word()
        if word in HARMLESS:
            self._words()
            self.remarks.append((line, f"'{word}' is a command; it is not executed here"))
        else:
            raise _Foreign(f"'{_shorten(word)}' is a command")

    def _assignments(self, line: int) -> None:
        self._fresh.clear()
        while self._more():
            found = _ASSIGNMENT.match(self.text, self.at)
            if found is None:
                raise _Foreign(f"'{_shorten(self._word())}' is a command")
            self._assign(found, line)

    def _declaration(self, kind: str, line: int) -> None:
        named, allowed = False, _OPTIONS[kind]
        self._fresh.clear()
        while self._more():
            found = _ASSIGNMENT.match(self.text, self.at)
            if found is not None:
                name = found[1]
                if named and self.text.startswith("(", found.end()):
                    raise _Foreign("an array comes second in a declaration, which bash reads in an order of its own")
                self._assign(found, line, several=True)
                self._fresh.add(name)
                if self.values[name].text.startswith("("):
                    raise _Foreign("a declaration may take '(' for the beginning of an array")
            else:
                name = self._word()
                if not named and allowed and re.fullmatch(f"-[{allowed}]+", name):
                    continue
                if not _NAME.fullmatch(name):
                    raise _Foreign(f"'{kind} {_shorten(name)}' does more than to assign")
            named = True
            if kind == "readonly":
                self._constant.add(name)

    def _assign(self, found: re.Match[str], line: int, several: bool = False) -> None:
        """`several`: an unquoted word may be several, as in a declaration."""
        name, more = found[1], bool(found[2])
        if BASHS_OWN.fullmatch(name):
            raise _Foreign(f"{name} is a variable of bash's own")
        if name in self._constant:
            raise _Foreign(f"{name} is read-only")
        self.at = found.end()
        array = self._peek() == "("
        words = self._array() if array else (self._word(value=True, braces=several),)
        before = self.values.get(name)
        if before is not None and not array:  # an array keeps its other words
            words = ((before.text if more else "") + words[0], *before.words[1:])
        elif before is not None and more:
            words = before.words + words
        self.values[name] = Value(words, line, array or (before is not None and before.array))

    def _array(self) -> tuple[str, ...]:
        self.at += 1
        words = []
        while self._skip(_BLANK + "\n") and self._peek() != ")":
            if self._peek() == "[":
                raise _Foreign("an array with subscripts stands here")
            if self._peek() in _BREAKS:
                raise _Foreign(f"'{self._peek()}' has a meaning to a shell here")
            words.append(self._word(value=True, several=True))
        if not self._peek():
            raise _Foreign("an array is opened and never closed")
        self.at += 1
        if self._peek() not in ("", *_BREAKS):
            raise _Foreign("something follows an array without a blank")
        return tuple(words)

    def _words(self) -> None:
        while self._more():
            self._word(several=True)

    def _more(self) -> bool:
        """Whether another word of this statement follows."""
        self._skip(_BLANK)
        return self._peek() not in ("", "\n", ";")

    def _end(self) -> None:
        """Past what ends a statement."""
        if self._peek() == ";":
            self.at += 1
            if self._skip(_BLANK) and self._peek() in ";&":
                raise _Foreign(f"';{self._peek()}' has a meaning to a shell here")

    def _word(self, value: bool = False, several: bool = False, braces: bool = False) -> str:
        """One word, its quotes removed. Raises _Foreign. `value`: of an assignment, where `~` may be a home directory;
        `several`: where bash would make several words of some, or, with `braces`, for these alone."""
        parts: list[str] = []
        before = ":" if value or several else ""
        while (character := self._peek()) and character not in _BREAKS:
            if character == "~" and before in (":", "="):
                raise _Foreign("'~' stands for a home directory here")
            if (several and character in _GLOB) or (braces and character == "{"):
                raise _Foreign(f"'{character}' may make several words of this one")
            parts.append(self._piece(character, several))
            before = character
        if not parts and (character := self._peek()) not in ("", "\n", ";", " ", "\t"):
            raise _Foreign(f"'{character}' has a meaning to a shell here")
        return "".join(parts)

    def _piece(self, character: str, several: bool = False) -> str:
        if character == "'":
            return self._single_quoted()
        if character == '"':
            return self._quoted()
        if character == "$":
            return self._reference(quoted=False, several=several)
        if character == "`":
            raise _Foreign("a command stands in backquotes")
        self.at += 1
        if character == "\\":
            self.at += 1
            if self.at > len(self.text):
                raise _Foreign("the file ends with a backslash")
            return self.text[self.at - 1]
        return character

    def _quoted(self) -> str:
        self.at += 1
        parts = []
        while (character := self._peek()) != '"':
            if not character:
                raise _Foreign("a quote is opened and never closed")
            if character == "\\" and self.text[self.at + 1 : self.at + 2] in tuple('"\\$`'):
                parts.append(self.text[self.at + 1])
                self.at += 2
            elif character == "$":
                parts.append(self._reference(quoted=True))
            elif character == "`":
                raise _Foreign("a command stands in backquotes")
            else:
                parts.append(character)
                self.at += 1
        self.at += 1
        return "".join(parts)

    def _single_quoted(self) -> str:
        end = self.text.find("'", self.at + 1)
        if end < 0:
            raise _Foreign("a quote is opened and never closed")
        inside, self.at = self.text[self.at + 1 : end], end + 1
        return inside

    def _reference(self, quoted: bool, several: bool = False) -> str:
        found = _REFERENCE.match(self.text, self.at)
        if found is None:
            self.at += 1
            following = self._peek()
            if following and following in _SPECIAL + "{" + ("" if quoted else "'\""):
                raise _Foreign("an expansion stands here that only a shell can do")
            return "$"
        if found[1] and self.text.startswith("\\\n", found.end()):
            raise _Foreign(f"${found[1]} may go on in the next line; write ${{{found[1]}}}")
        name = found[1] or found[2]
        if name not in self.values or name in self._fresh:
            raise _Foreign(f"${name} is not set in this file{' before this line' if name in self._fresh else ''}")
        self.at = found.end()
        text = self.values[name].text
        if several and (not text or any(character in text for character in " \t\n*?[")):
            raise _Foreign(f"${name} is not one word here; put it in double quotes")
        return text

    def _skip(self, characters: str) -> bool:
        """Past these and comments; whether anything is left."""
        while (character := self._peek()) and (character in characters or character == "#"):
            if character == "#":
                end = self.text.find("\n", self.at)
                self.at = end if end >= 0 else len(self.text)
                if "\n" not in characters:
                    break
            else:
                self.at += 1
        return bool(self._peek())

    def _past_line(self) -> None:
        end = self.text.find("\n", self.at)
        self.at = end + 1 if end >= 0 else len(self.text)

    def _peek(self) -> str:
        """What comes next; a backslash before the end of a line joins it with the next one."""
        while self.text.startswith("\\\n", self.at):
            self.at += 2
        return self.text[self.at : self.at + 1]

    def _line(self) -> int:
        at, line = self._counted
        self._counted = self.at, line + self.text.count("\n", at, self.at)
        return self._counted[1]


def _shorten(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."
