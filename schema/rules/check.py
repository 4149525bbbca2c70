"""A document against vio4wd.schema.json, in sentences of our own."""

from __future__ import annotations

import difflib
import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path as FilePath
from typing import Any

from schema.nodes import Document, Mapping, Path, Problem, Scalar, Sequence, plain, shorten
from schema.spec import without_password
from schema.vf import parse_vf
from schema.yaml12 import at

SCHEMA_FILE = FilePath(__file__).parents[1] / "vio4wd.schema.json"
_SPEC = SCHEMA_FILE.name

_TYPE_WORDS = {
    "integer": "a whole number",
    "string": "text",
    "array": "a list",
    "object": "a mapping of keys",
    "boolean": "true or false",
    "null": "null",
}


@functools.cache
def schema(name: str = _SPEC) -> dict[str, Any]:
    """A schema as it is published: a spec's, or another one's that lies beside it."""
    content: dict[str, Any] = json.loads(SCHEMA_FILE.with_name(name).read_text(encoding="utf-8"))
    return content


@functools.cache
def _validator(name: str) -> Any:
    # Imported here so that who needs only the model does not pay for it at start (80 ms).
    import jsonschema

    draft = jsonschema.Draft202012Validator
    # To JSON Schema 1.0 is an integer; to Python it is none.
    types = draft.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
    words = {"uniqueItems": _once}
    return jsonschema.validators.extend(draft, words, type_checker=types)(schema(name))  # type: ignore[no-untyped-call]


def _once(_: Any, wanted: bool, instance: Any, __: Any) -> Iterator[Any]:
    """uniqueItems in a time that grows with the list: jsonschema's own compares each with each where they can't be
    sorted. What is no number is refused for that already."""
    import jsonschema

    numbers = [item for item in instance if type(item) is int] if isinstance(instance, list) else []
    if wanted and len(set(numbers)) < len(numbers):
        yield jsonschema.ValidationError("an item stands twice")


def check(document: Document, name: str = _SPEC) -> tuple[Problem, ...]:
    """What the schema has to say against the document; nothing when it holds."""
    errors = list(_validator(name).iter_errors(plain(document.root)))
    mistyped = {tuple(error.absolute_path) for error in errors if error.validator == "type"}
    problems: dict[Problem, None] = {}
    for error in errors:
        path = tuple(error.absolute_path)
        if error.validator == "type" or path not in mistyped:
            problems.update(dict.fromkeys(_SAY[error.validator](document, path, error)))
    return tuple(problems)


def _type(document: Document, path: Path, error: Any) -> Iterator[Problem]:
    allowed = error.validator_value if isinstance(error.validator_value, list) else [error.validator_value]
    # null stands for the default; nobody is told to write it.
    words = _TYPE_WORDS[allowed[0]]
    node = document.at(path)
    such_as = f"{words}, such as {_example(error.schema)}"
    if error.instance is None:
        message = f"is empty; it must be {such_as}"
    elif isinstance(node, Scalar) and "string" in allowed:
        message = f"must be {words}, not {node.text}; put it in quotes, such as {_example(error.schema)}"
    else:
        message = f"must be {such_as}, not {_given(document, path)}"
    yield document.problem(path, message)


def _choice(document: Document, path: Path, error: Any) -> Iterator[Problem]:
    choices = [str(choice) for choice in error.schema.get("enum") or [error.schema["const"]]]
    near = _nearest(str(error.instance), choices) if len(choices) > 1 else ""
    one_of = "one of " if len(choices) > 1 else ""
    yield document.problem(path, f"must be {one_of}{', '.join(choices)}, not {_given(document, path)}{near}")


def _range(document: Document, path: Path, error: Any) -> Iterator[Problem]:
    low, high = error.schema["minimum"], error.schema["maximum"]
    yield document.problem(path, f"must be between {low} and {high}, not {_given(document, path)}")


def _length(document: Document, path: Path, error: Any) -> Iterator[Problem]:
    low, high = error.schema["minItems"], error.schema.get("maxItems")
    allowed = f"{low} to {high} entries" if high is not None else f"at least {low} entry"
    count = len(error.instance)
    yield document.problem(path, f"must hold {allowed}, not {count}, such as {_example(error.schema)}")


def _too_long(document: Document, path: Path, error: Any) -> Iterator[Problem]:
    yield document.problem(path, f"has {len(error.instance)} characters; at most {error.validator_value} are allowed")


def _pattern(document: Document, path: Path, error: Any) -> Iterator[Problem]:
    if "propertyNames" in error.absolute_schema_path:
        place = document.key_place((*path, error.instance))
        message = f"the key '{shorten(error.instance)}' {error.schema['patternErrorMessage']}"
        yield document.problem(path, message, place)
        return
    message = f"{error.schema['patternErrorMessage']}; not {_given(document, path)}"
    if error.schema["title"] == "VF":
        try:
            parse_vf(error.instance)
        except ValueError as why:
            message = str(why)
    yield document.problem(path, message)


def _unique(document: Document, path: Path, error: Any) -> Iterator[Problem]:
    first: dict[int, int] = {}
    for index, value in enumerate(error.instance):
        if type(value) is not int:
            continue  # said already, as a wrong type
        if value in first:
            here = document.place((*path, index))
            there = at(document.place((*path, first[value])), here)
            yield document.problem((*path, index), f"{value} stands twice, first at {there}; remove one of them")
        first.setdefault(value, index)


def _unknown(document: Document, path: Path, error: Any) -> Iterator[Problem]:
    allowed = sorted(error.schema["properties"])
    for key in error.instance:
        if key not in allowed:
            # In {}, the comma before a virtual device's arguments ends the value.
            comma = "; if it goes with the value before it, put both in quotes." if "=" in key else ""
            near = comma or _nearest(key, allowed)
            message = f"unknown key '{shorten(key)}'{near or '.'} Allowed are {', '.join(allowed)}"
            yield document.problem((*path, key), message, document.key_place((*path, key)))


def _required(document: Document, path: Path, error: Any) -> Iterator[Problem]:
    for key in error.validator_value:
        if key not in error.instance:
            example = _example(error.schema["properties"][key])
            yield document.problem(path, f"the key {key} is missing; add it, such as {key}: {example}")


def _one_of(document: Document, path: Path, error: Any) -> Iterator[Problem]:
    keys = [choice["required"][0] for choice in error.validator_value]
    given = [key for key in keys if key in error.instance]
    if given:
        first, second = (document.key_place((*path, key)) for key in given)
        where = at(min(first, second, key=_order), max(first, second, key=_order))
        message = f"{' and '.join(given)} cannot both be given, first at {where}; keep one of them"
        yield document.problem(path, message, max(first, second, key=_order))
    else:
        key, example = next(item for item in error.schema["examples"][0].items() if item[0] in keys)
        message = f"needs a {' or a '.join(keys)}; add one, such as {key}: {json.dumps(example)}"
        yield document.problem(path, message)


_SAY: dict[str, Callable[[Document, Path, Any], Iterator[Problem]]] = {
    "type": _type,
    "enum": _choice,
    "const": _choice,
    "minimum": _range,
    "maximum": _range,
    "minItems": _length,
    "maxItems": _length,
    "maxLength": _too_long,
    "pattern": _pattern,
    "uniqueItems": _unique,
    "additionalProperties": _unknown,
    "required": _required,
    "oneOf": _one_of,
}
"""Every keyword that the schema uses; a test compares."""


def _order(place: Any) -> tuple[int, int]:
    return place.line, place.column


def _nearest(given: str, allowed: list[str]) -> str:
    near = difflib.get_close_matches(given[:80].lower(), allowed, n=1, cutoff=0.6)
    return f", did you mean {near[0]}?" if near else ""


def _given(document: Document, path: Path) -> str:
    node = document.at(path)
    if isinstance(node, Sequence):
        return "a list"
    if isinstance(node, Mapping):
        return "a mapping of keys"
    if node is None:
        return "nothing"
    return f"'{shorten(without_password(node.text))}'" if isinstance(node.value, str) else shorten(node.text)


def _example(part: dict[str, Any]) -> str:
    """The first example of this part of the schema, as YAML on one line."""
    if "$ref" in part:
        part = schema()["$defs"][part["$ref"].rpartition("/")[2]]
    return json.dumps(part["examples"][0])
