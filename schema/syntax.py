"""What PyYAML says about text that is no YAML, in plain sentences."""

from __future__ import annotations

import yaml

from schema.nodes import Place

TOO_LONG_NUMBER = "this escape or version number is out of range; write the characters themselves"

_TAB = "a tab cannot stand here; indent with spaces"
_NOT_YAML = "this is not valid YAML; check the quotes, brackets and indentation here and on the line above"

_SENTENCES: tuple[tuple[str, str], ...] = (
    ("found character '\\t'", _TAB),
    ("cannot start any token", "this character cannot begin a value; put the value in quotes"),
    ("mapping values are not allowed", "a ':' is not expected here; check the indentation, or put the value in quotes"),
    ("sequence entries are not allowed", "a list entry '- ' is not expected here; begin it on a line of its own"),
    ("mapping keys are not allowed", "a '? ' is not expected here; put the value in quotes"),
    ("expected ',' or ']'", "',' or ']' is missing here; the list began at {start}"),
    ("expected ',' or '}'", "',' or '}}' is missing here; the mapping began at {start}"),
    ("expected <block end>", "this does not fit the lines above, from {start} on; check its indentation"),
    ("expected the node content", "a value is missing here"),
    ("expected '<document start>'", "more text follows after the end of the document; check the brackets above"),
    ("escape", "this escape is unknown in double quotes; write \\\\ for a backslash, or use single quotes"),
    ("hexadecimal numbers", "this escape is incomplete; write \\\\ for a backslash, or use single quotes"),
    ("while scanning an alias", "'*' begins an alias and needs a name; put the value in quotes"),
    ("while scanning an anchor", "'&' begins an anchor and needs a name; put the value in quotes"),
    ("while scanning a block scalar", "'|' and '>' begin text of several lines, which no key takes; put it in quotes"),
    ("directive", "a line that begins with '%' is a YAML directive; remove it"),
    ("incompatible YAML document", "this YAML version is unknown; remove the %YAML line"),
    ("tag", "'!' begins a tag, which no key takes; put the value in quotes"),
)
"""What PyYAML's message contains, and what we say instead; the first that matches."""

_FROM_THE_START: tuple[tuple[str, str], ...] = (
    ("unexpected end of stream", "the quotation mark that opens here is never closed"),
    ("unexpected document separator", "the quotation mark that opens here is never closed"),
    ("could not find expected ':'", "this stands where a key is expected, and no ':' follows it"),
)
"""Said at the place where the broken thing began, not where it was noticed."""


def sentence_of(error: yaml.YAMLError, text: str) -> tuple[Place, str]:
    """Where the error is, and what to say of it."""
    if isinstance(error, yaml.reader.ReaderError):
        return _place_at(text, error.position), f"the character U+{error.character:04X} is not allowed; remove it"
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return Place(1, 1), _NOT_YAML
    message = f"{error.context or ''} {error.problem or ''}"
    begun = error.context_mark or error.problem_mark
    for fragment, sentence in _FROM_THE_START:
        if fragment in message:
            return _place(begun), sentence
    start = f"line {begun.line + 1}, column {begun.column + 1}"
    sentence = next((sentence for fragment, sentence in _SENTENCES if fragment in message), _NOT_YAML)
    return _place(error.problem_mark), sentence.format(start=start)


def _place(mark: yaml.Mark) -> Place:
    return Place(mark.line + 1, mark.column + 1)


def _place_at(text: str, position: int) -> Place:
    before = text[:position]
    return Place(before.count("\n") + 1, position - (before.rfind("\n") + 1) + 1)
