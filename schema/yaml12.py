"""YAML text to a tree with positions, bounded and without surprises.

PyYAML scans and parses; what its events mean is decided here: scalars by the core schema of YAML 1.2, no duplicate
keys, no tags, no merge keys, one document, and bounds on depth and on what aliases may expand to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from schema.nodes import (
    Document,
    Mapping,
    Node,
    Place,
    Plain,
    Problem,
    Scalar,
    Sequence,
    SpecError,
    dotted,
    shorten,
)
from schema.syntax import TOO_LONG_NUMBER, sentence_of

_WORDS: dict[str, Plain] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_DECIMAL = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
MAX_NUMBER_LENGTH = 100
"""Longer digits stay text: no key takes such a number, and Python refuses to convert the longest."""

MAX_NODES = 10_000
"""Values in one document, each alias counted as what it stands for. 64 relays with every key need about 1,300."""
MAX_DEPTH = 16
"""Lists and mappings inside each other. A spec needs 5."""
UNSEEN = "holds a line break or a character that cannot be seen; write it on one line"


def read_document(text: str, file: str) -> tuple[Document, tuple[Problem, ...]]:
    """The document that `text` holds, and what is wrong with it as far as it could be read all the same.

    Raises SpecError when there is no telling what the rest means.
    """
    builder = _Builder(file, _events(text, file))
    root = builder.document()
    return Document(file, root, builder.nodes), tuple(builder.problems)


def _events(text: str, file: str) -> Iterator[Any]:
    loader: yaml.SafeLoader | None = None
    try:
        loader = yaml.SafeLoader(text)
        while loader.check_event():
            yield loader.get_event()  # type: ignore[no-untyped-call]
    except yaml.YAMLError as error:
        place, message = sentence_of(error, text)
        raise SpecError([Problem(file, place.line, place.column, "", message)]) from None
    except (ValueError, OverflowError):
        # int() and chr() inside PyYAML, on a %YAML version or a \U escape that no number or character has.
        line, column = (loader.line + 1, loader.column + 1) if loader is not None else (1, 1)
        raise SpecError([Problem(file, line, column, "", TOO_LONG_NUMBER)]) from None


@dataclass(slots=True)
class _Builder:
    """Builds nodes from events; one per document."""

    file: str
    events: Iterator[Any]
    problems: list[Problem] = field(default_factory=list)
    path: list[str | int] = field(default_factory=list)
    anchors: dict[str, Node | None] = field(default_factory=dict)
    """None while the anchor's node is being built."""
    nodes: int = 0

    def document(self) -> Node:
        next(self.events)
        if isinstance(next(self.events), yaml.StreamEndEvent):
            raise self._fatal(Place(1, 1), "the file is empty; to relay nothing, write apiVersion and relays: []")
        root = self._node(next(self.events), 0)
        next(self.events)
        another = next(self.events)
        if not isinstance(another, yaml.StreamEndEvent):
            raise self._fatal(_place(another), "a second document begins here; a spec is one, remove it")
        return root

    def _node(self, event: Any, depth: int) -> Node:
        self._count(event, 1, depth)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, depth)
        if event.tag is not None:
            tag = shorten(event.tag.replace("tag:yaml.org,2002:", "!!"))
            self._say(_place(event), f"the tag {tag} is not allowed; remove it, each key has its type")
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        node = self._untagged(event, depth)
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        return node

    def _untagged(self, event: Any, depth: int) -> Node:
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(event, depth)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(event, depth)
        return self._scalar(event)

    def _scalar(self, event: Any) -> Scalar:
        text: str = event.value
        if not text.isprintable():
            self._say(_place(event), UNSEEN)
        quoted = event.style is not None
        return Scalar(_place(event), text if quoted else resolve(text), text, quoted)

    def _sequence(self, event: Any, depth: int) -> Sequence:
        node = Sequence(_place(event))
        while not isinstance(item := next(self.events), yaml.SequenceEndEvent):
            self.path.append(len(node.items))
            node.items.append(self._node(item, depth + 1))
            self.path.pop()
        return node

    def _mapping(self, event: Any, depth: int) -> Mapping:
        node = Mapping(_place(event))
        while not isinstance(key_event := next(self.events), yaml.MappingEndEvent):
            key = self._key(key_event, depth)
            self.path.append("?" if key is None else key.text)
            value = self._node(next(self.events), depth + 1)
            if key is not None and not self._refused(key, node):
                node.entries[key.text] = value
                node.key_places[key.text] = key.place
            self.path.pop()
        return node

    def _key(self, event: Any, depth: int) -> Scalar | None:
        node = self._node(event, depth + 1)
        if isinstance(node, Scalar) and not isinstance(event, yaml.AliasEvent):
            return node
        self._say(_place(event), "a key must be a plain word, not a list, a mapping or an alias")
        return None

    def _refused(self, key: Scalar, mapping: Mapping) -> bool:
        if key.text == "<<" and not key.quoted:
            self._say(key.place, "merge keys are not part of YAML 1.2; write the keys out")
            return True
        if key.text in mapping.entries:
            first = mapping.key_places[key.text]
            self._say(key.place, f"stands twice, first at {at(first, key.place)}; remove one of them")
            return True
        return False

    def _alias(self, event: Any, depth: int) -> Node:
        name = shorten(event.anchor)
        if event.anchor not in self.anchors:
            raise self._fatal(_place(event), f"no anchor &{name} stands before the alias *{name}")
        target = self.anchors[event.anchor]
        if target is None:
            raise self._fatal(_place(event), f"the alias *{name} stands inside what it stands for; write it out")
        size, height = _measure(target)
        self._count(event, size - 1, depth + height)
        return replace(target, place=_place(event))

    def _count(self, event: Any, nodes: int, depth: int) -> None:
        self.nodes += nodes
        if self.nodes > MAX_NODES:
            message = f"more than {MAX_NODES:,} values up to here, aliases counted as what they repeat; write less"
            raise self._fatal(_place(event), message)
        if depth > MAX_DEPTH:
            raise self._fatal(_place(event), f"nested more than {MAX_DEPTH} deep; a spec needs 5")

    def _say(self, place: Place, message: str) -> None:
        self.problems.append(Problem(self.file, place.line, place.column, dotted(tuple(self.path)), message))

    def _fatal(self, place: Place, message: str) -> SpecError:
        self._say(place, message)
        return SpecError(self.problems)


def _place(event: Any) -> Place:
    return Place(event.start_mark.line + 1, event.start_mark.column + 1)


def at(place: Place, seen_from: Place) -> str:
    """`line 4`, with the column when both stand on one line, with the file when they are of two; what is no text has no
    lines, and only the name of its file."""
    if not place.line:
        return place.file
    if place.file != seen_from.file:
        return f"{place.file}:{place.line}:{place.column}"
    if place.line == seen_from.line:
        return f"line {place.line}, column {place.column}"
    return f"line {place.line}"


def _measure(node: Node) -> tuple[int, int]:
    """How many values the node holds, itself included, and how deep they go below it."""
    if isinstance(node, Scalar):
        return 1, 0
    children = node.items if isinstance(node, Sequence) else list(node.entries.values())
    measures = [_measure(child) for child in children]
    return 1 + sum(size for size, _ in measures), 1 + max((height for _, height in measures), default=0)


def resolve(text: str) -> Plain:
    """The value of an unquoted scalar."""
    if text in _WORDS:
        return _WORDS[text]
    if len(text) > MAX_NUMBER_LENGTH:
        return text
    if _DECIMAL.fullmatch(text):
        return int(text)
    if _OCTAL.fullmatch(text):
        return int(text[2:], 8)
    if _HEXADECIMAL.fullmatch(text):
        return int(text[2:], 16)
    return float(text) if _FLOAT.fullmatch(text) else text
