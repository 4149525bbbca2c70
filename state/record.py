"""Records as JSON text, one way for all that is kept so: an object of a dataclass's fields, each of the type that the
class declares for it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

from schema.model import State
from schema.system.typed_json import decoded, types_of
from state.shape import mapping

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
        named = types_of(self._kind).items()  # type: ignore[arg-type]
        return {self._names.get(name, name): (name, kind) for name, kind in named if name not in self._without}

    def text(self, record: T) -> str:
        """The record as JSON."""
        return json.dumps({key: getattr(record, name) for key, (name, _) in self._fields.items()}, default=_plain)

    def read(self, text: str, **columns: object) -> T:
        """The inverse; `columns` are what is not in the text. Raises one of OTHER_SHAPE."""
        value = mapping(json.loads(text))
        if self._closed and value.keys() - self._fields.keys():
            raise TypeError("it says more than this release understands")
        known = {
            name: decoded(kind, value[key])
            for key, (name, kind) in self._fields.items()
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
