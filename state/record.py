"""Records as JSON text, one way for all that is kept so: an object of a dataclass's fields, each of the type that the
class declares for it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cached_property
from types import NoneType, UnionType
from typing import Any, Generic, TypeVar, get_args, get_origin, get_type_hints

from schema.model import State
from state.shape import mapping, typed

T = TypeVar("T")


class Record(Generic[T]):
    """How the records of one class are written and read."""

    def __init__(
        self,
        kind: type[T],
        without: Sequence[str] = (),
        later: Sequence[str] = (),
        names: Mapping[str, str] | None = None,
        closed: bool = False,
    ) -> None:
        """`without`: fields that are not in the text. `later`: those that older releases did not write, and that have
        a default. `names`: the keys of fields that are called otherwise there. `closed`: a record with a key that is
        not known is none of ours; else the key counts for nothing."""
        self._kind = kind
        self._without = without
        self._later = later
        self._names = names or {}
        self._closed = closed

    @cached_property
    def _fields(self) -> dict[str, tuple[str, Any]]:
        """Name and declared type by key."""
        hints = get_type_hints(self._kind)
        names = [field.name for field in fields(self._kind) if field.name not in self._without]  # type: ignore[arg-type]
        return {self._names.get(name, name): (name, hints[name]) for name in names}

    def text(self, record: T) -> str:
        """The record as JSON."""
        return json.dumps({key: getattr(record, name) for key, (name, _) in self._fields.items()}, default=_plain)

    def read(self, text: str, **columns: object) -> T:
        """The inverse; `columns` are what is not in the text. Raises one of OTHER_SHAPE."""
        value = mapping(json.loads(text))
        if self._closed and value.keys() - self._fields.keys():
            raise TypeError("it says more than this release understands")
        known = {
            name: _read(hint, value[key])
            for key, (name, hint) in self._fields.items()
            if key in value or name not in self._later
        }
        return self._kind(**columns, **known)


def _plain(value: object) -> Any:
    """What JSON has no word for: sets are sorted lists, a record within another one is the list of its fields."""
    if isinstance(value, State):
        return value.to_json()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Set):
        return sorted(value, key=lambda each: each if isinstance(each, int) else str(each))
    if isinstance(value, bytes):
        return value.decode()
    if is_dataclass(value):
        return [getattr(value, field.name) for field in fields(value)]
    raise TypeError(f"{value!r:.40} is not to be written")


def _read(kind: Any, value: Any) -> Any:
    """What a value of this declared type was written as. Raises one of OTHER_SHAPE."""
    if (origin := get_origin(kind)) is not None:
        return _read_generic(origin, get_args(kind), value)
    if kind is State:
        return State.from_json(value)
    if kind is bytes:
        return _read(str, value).encode()
    if issubclass(kind, Enum):
        return kind(value)
    if kind in (str, int, float, NoneType):
        return typed(kind)(value)[0]
    hints = get_type_hints(kind).values()
    return kind(*(_read(hint, each) for hint, each in zip(hints, _list(value), strict=True)))


def _read_generic(origin: Any, inner: tuple[Any, ...], value: Any) -> Any:
    if origin is UnionType:
        for kind in inner:
            with suppress(TypeError):
                return _read(kind, value)
        raise TypeError(f"{value!r:.40} is none of {inner}")
    if origin is frozenset:
        return frozenset(_read(inner[0], each) for each in _list(value))
    if origin is tuple:
        kinds = inner if inner[-1] is not ... else (inner[0],) * len(_list(value))
        return tuple(_read(kind, each) for kind, each in zip(kinds, _list(value), strict=True))
    return {inner[0](key): _read(inner[1], each) for key, each in mapping(value).items()}


def _list(value: object) -> list[Any]:
    return list(typed(list)(value)[0])
