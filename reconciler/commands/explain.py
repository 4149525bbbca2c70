"""`vio4wd explain`: what does a key of the spec mean?"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from reconciler.terminal.arguments import json_argument

if TYPE_CHECKING:
    from schema.loading.keys import Key

NAME = "explain"
HELP = "say what a key of the spec means, or list all keys"
EPILOG = """\
Examples:
  vio4wd explain
  vio4wd explain relays.cpus
  vio4wd explain relays.bond.mode
"""
TYPES = {"integer": "whole number", "string": "text", "array": "list", "object": "mapping", "boolean": "true or false"}
BOUNDS = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "minItems": "no fewer than {}",
    "maxItems": "no more than {}",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("key", metavar="KEY", nargs="?", help="as relays.cpus (default: all keys, one line each)")
    json_argument(parser)


def execute(asked: argparse.Namespace) -> int:
    from reconciler.terminal.output import emit, say, table
    from schema.loading.keys import explained, keys

    if asked.key is None:
        found = keys()
        if asked.json:
            emit({path: dict(key.part) for path, key in found.items()})
        else:
            table(("KEY", "TYPE", "DEFAULT", ""), [_row(key) for key in found.values()])
        return 0
    key = explained(asked.key)
    if asked.json:
        emit(dict(key.part))
        return 0
    for line in _lines(key, [path for path in keys() if path.rpartition(".")[0] == key.path]):
        say(line)
    return 0


def _row(key: Key) -> list[str]:
    return [key.path, _type(key.part), _default(key), str(key.part.get("title", ""))]


def _lines(key: Key, below: list[str]) -> Iterator[str]:
    import textwrap

    part = key.part
    yield f"{key.path}: {part.get('title', '')}"
    yield ""
    about = textwrap.TextWrapper(78, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)
    yield from about.wrap(str(part.get("description", "")))
    yield ""
    facts = {"type": _type(part), "allowed": _allowed(part), "default": _default(key)}
    yield from (f"  {name:<9} {value}" for name, value in facts.items() if value)
    for index, example in enumerate(part.get("examples", ()) if not below else ()):
        yield f"  {'example' if index == 0 else '':<9} {key.path.rpartition('.')[2]}: {_yaml(example)}"
    if below:
        yield ""
        yield from textwrap.wrap(f"keys below: {', '.join(below)}", 78, initial_indent="  ", subsequent_indent="    ")


def _type(part: Mapping[str, Any]) -> str:
    given = part.get("type", "")
    first = given[0] if isinstance(given, list) else given
    return TYPES.get(str(first), str(first))


def _allowed(part: Mapping[str, Any]) -> str:
    if "enum" in part:
        return ", ".join(map(str, part["enum"]))
    return ", ".join(words.format(part[name]) for name, words in BOUNDS.items() if name in part)


def _default(key: Key) -> str:
    if key.required:
        return "none, it must be given"
    return _yaml(key.part["default"]) if "default" in key.part else "none"


def _yaml(value: Any) -> str:
    """A value as it may be written in one line of a spec."""
    import json

    if isinstance(value, str) and value and not value[0].isdigit() and ": " not in value:
        return value
    return json.dumps(value)
