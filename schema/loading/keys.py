"""What each key of a spec is, from the published schema: for `vio4wd explain` and for whoever lists the keys."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from schema.rules.check import schema


@dataclass(frozen=True, slots=True)
class Key:
    """One key, as the schema has it."""

    path: str
    """With a dot before each key, whether lists lie between or not: `relays.bond.members`."""
    part: Mapping[str, Any]
    """Its JSON Schema."""
    required: bool


class UnknownKey(Exception):  # noqa: N818 - a slip of the fingers
    """A path that the schema does not have."""

    def __init__(self, path: str, allowed: list[str]) -> None:
        near = difflib.get_close_matches(path, allowed, n=1)
        guess = f"; is {near[0]} meant?" if near else "; vio4wd explain lists them all"
        super().__init__(f"a spec has no key '{path}'{guess}")


def keys() -> dict[str, Key]:
    """All keys by path, in the order of the schema."""
    return {key.path: key for key in _keys(schema(), "")}


def explained(path: str) -> Key:
    """The key at this path, written with or without the brackets of lists. Raises UnknownKey."""
    everything = keys()
    plain = path.replace("[]", "").strip(".")
    if plain not in everything:
        raise UnknownKey(path, list(everything))
    return everything[plain]


def _keys(part: Mapping[str, Any], prefix: str) -> Iterator[Key]:
    for name, inner in part.get("properties", {}).items():
        found = _resolved(inner)
        yield Key(f"{prefix}{name}", found, name in part.get("required", ()))
        for below in (found, _resolved(found.get("items", {}))):
            yield from _keys(below, f"{prefix}{name}.")


def _resolved(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """A part of the schema, with what it refers to and what it adds to that."""
    name = part.get("$ref", "").rpartition("/")[2]
    return {**schema()["$defs"][name], **part} if name else part
