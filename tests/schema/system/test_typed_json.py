from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import pytest

from schema.system.typed_json import decoded


class Colour(StrEnum):
    RED = "red"


class Point(NamedTuple):
    name: str
    at: float


@dataclass(frozen=True, slots=True)
class Part:
    id: int
    content: bytes = b""


@dataclass(frozen=True, slots=True)
class Whole:
    parts: tuple[Part, ...]
    by_id: Mapping[int, Part | None]
    ids: frozenset[int | str]
    point: Point | None
    pair: tuple[int, Colour]
    more: str = "none"


GIVEN: dict[str, Any] = {
    "parts": [{"id": 1, "unknown": 0}, [2, "ü"]],
    "by_id": {"1": {"id": 1}, "2": None},
    "ids": [1, "a"],
    "point": ["x", 2],
    "pair": [1, "red"],
}


def test_objects_say_fields_by_name_and_lists_in_order() -> None:
    assert decoded(Whole, GIVEN) == Whole(
        parts=(Part(1), Part(2, "ü".encode())),
        by_id={1: Part(1), 2: None},
        ids=frozenset({1, "a"}),
        point=Point("x", 2),
        pair=(1, Colour.RED),
    )


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ("parts", {}),
        ("parts", [{}]),
        ("parts", [[1]]),
        ("parts", ["1"]),
        ("by_id", []),
        ("by_id", {"x": None}),
        ("ids", "12"),
        ("ids", [1.5]),
        ("point", ["x", "2"]),
        ("point", ["x", True]),
        ("pair", [1]),
        ("pair", [1, "blue"]),
        ("more", None),
    ],
)
def test_what_is_of_another_type_is_refused(key: str, wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        decoded(Whole, {**GIVEN, key: wrong})
