"""Values that JSON has, as the dataclasses that they were written from."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import is_dataclass
from enum import Enum
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


def decoded(kind: type[T], value: object) -> T:
    """A dataclass with what `value` has for its fields: of one type, or None, or tuples and mappings of such. Keys
    that it does not know are ignored and those that lack keep their defaults, for another release may have written
    them. Raises TypeError or ValueError for what is of another type."""
    made: T = _decoded(kind, value)
    return made


def _decoded(kind: Any, value: Any) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return None if value is None else _decoded(inner[0], value)
    if origin is tuple:
        return tuple(_decoded(inner[0], each) for each in _checked(list, value))
    if origin is not None:
        return {_key(inner[0], key): _decoded(inner[1], each) for key, each in _checked(dict, value).items()}
    if is_dataclass(kind):
        return _record(kind, _checked(dict, value))
    return kind(value) if issubclass(kind, Enum) else _checked(kind, value)


def _record(kind: Any, value: Mapping[str, Any]) -> Any:
    return kind(**{name: _decoded(part, value[name]) for name, part in _parts(kind).items() if name in value})


@functools.cache
def _parts(kind: Any) -> Mapping[str, Any]:
    return get_type_hints(kind)


def _key(kind: Any, text: str) -> Any:
    """JSON has text for every key."""
    return kind(text)


def _checked(kind: type, value: object) -> Any:
    """JSON writes a whole number without a point, so that an int is a float, too."""
    if type(value) is not kind and not (kind is float and type(value) is int):
        raise TypeError(f"{value!r:.40} is no {kind.__name__}")
    return value
