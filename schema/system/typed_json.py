"""Values that JSON has, as the types that they were written from."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import is_dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


def decoded(kind: type[T], value: object) -> T:
    """A dataclass with what `value` has for its fields: of one type of a few, or None, or tuples, sets and mappings of
    such. An object says them by name: keys that the class does not know are ignored and those that lack keep their
    defaults, for another release may have written them. A list says all of them in their order. What has `from_json`
    makes itself. Raises TypeError or ValueError for what is of another type, and what `from_json` raises."""
    made: T = _decoded(kind, value)
    return made


def _decoded(kind: Any, value: Any) -> Any:
    if (origin := get_origin(kind)) is not None:
        return _generic(origin, get_args(kind), value)
    if hasattr(kind, "from_json"):
        return kind.from_json(value)
    if is_dataclass(kind) or issubclass(kind, tuple):
        return _record(kind, value)
    if kind is bytes:
        return _checked(str, value).encode()
    return kind(value) if issubclass(kind, Enum) else _checked(kind, value)


def _generic(origin: Any, inner: tuple[Any, ...], value: Any) -> Any:
    if origin is UnionType:
        return _one_of(inner, value)
    if origin is tuple and inner[-1] is not ...:
        return tuple(_in_order(inner, value))
    if origin in (tuple, frozenset):
        return origin(_decoded(inner[0], each) for each in _checked(list, value))
    return {_key(inner[0], key): _decoded(inner[1], each) for key, each in _checked(dict, value).items()}


def _one_of(kinds: Iterable[Any], value: Any) -> Any:
    if value is None and NoneType in kinds:
        return None
    *others, last = (kind for kind in kinds if kind is not NoneType)
    for kind in others:
        with suppress(TypeError):
            return _decoded(kind, value)
    return _decoded(last, value)


def _record(kind: Any, value: Any) -> Any:
    parts = types_of(kind)
    if isinstance(value, list):
        return kind(*_in_order(parts.values(), value))
    value = _checked(dict, value)
    return kind(**{name: _decoded(part, value[name]) for name, part in parts.items() if name in value})


def _in_order(kinds: Iterable[Any], value: Any) -> list[Any]:
    return [_decoded(kind, each) for kind, each in zip(kinds, _checked(list, value), strict=True)]


@functools.cache
def types_of(kind: Any) -> Mapping[str, Any]:
    """The declared type of each field of a dataclass, by name."""
    return get_type_hints(kind)


def _key(kind: Any, text: str) -> Any:
    """JSON has text for every key."""
    return kind(text)


def _checked(kind: type, value: object) -> Any:
    """JSON writes a whole number without a point, so that an int is a float, too."""
    if type(value) is not kind and not (kind is float and type(value) is int):
        raise TypeError(f"{value!r:.40} is no {kind.__name__}")
    return value
