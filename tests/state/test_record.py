from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import pytest

from schema.model import Kind, Relay, State
from state.record import OTHER_SHAPE, Record


@dataclass(frozen=True, slots=True)
class Place:
    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Thing:
    id: int
    state: State
    places: tuple[Place, ...]
    refs: frozenset[tuple[int, Kind, int | str]]
    boots: Mapping[int, str] | None
    seconds: float
    mine: str = ""
    told: frozenset[int] = frozenset()


RECORD = Record(Thing, without=("id",), later=("told",), names={"mine": "own"})
THING = Thing(
    7,
    State(relays={1: Relay(1, "a", "/s")}),
    (Place("x", "ü".encode()),),
    frozenset({(0, Kind.RELAY, 1), (1, Kind.PORT, "a")}),
    {0: "b"},
    1.5,
    "it",
    frozenset({10, 9}),
)


def test_a_record_is_written_by_its_fields_and_read_again() -> None:
    value = json.loads(RECORD.text(THING))
    assert {**value, "state": None} == {
        "state": None,
        "places": [["x", "ü"]],
        "refs": [[0, "relay", 1], [1, "port", "a"]],
        "boots": {"0": "b"},
        "seconds": 1.5,
        "own": "it",
        "told": [9, 10],
    }
    assert RECORD.read(RECORD.text(THING), id=7) == THING


def test_any_set_and_any_mapping_is_written() -> None:
    """A state's parts are read-only mappings, and what is protected may be what a mapping has for keys."""
    relays = MappingProxyType({9: "b", 10: "c"})
    boots = MappingProxyType({0: "b"})
    assert RECORD.text(replace(THING, boots=boots, told=relays.keys())) == RECORD.text(THING)  # type: ignore[arg-type]


def test_what_an_older_release_did_not_write_has_its_default_and_what_a_newer_one_adds_counts_for_nothing() -> None:
    value = json.loads(RECORD.text(THING))
    del value["told"]
    assert RECORD.read(json.dumps({**value, "new": 1}), id=7).told == frozenset()
    with pytest.raises(OTHER_SHAPE):
        Record(Thing, ("id",), ("told",), {"mine": "own"}, closed=True).read(json.dumps({**value, "new": 1}), id=7)


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ("state", {"relay": [{"id": 1}]}),
        ("state", []),
        ("places", [["x"]]),
        ("places", [["x", 1]]),
        ("places", "x"),
        ("refs", [[0, "nothing", 1]]),
        ("refs", [[0, "relay", 1.5]]),
        ("boots", {"a": "b"}),
        ("boots", {"0": 1}),
        ("boots", []),
        ("seconds", "1.5"),
        ("seconds", True),
        ("told", "12"),
        ("told", ["1"]),
        ("told", None),
    ],
)
def test_a_value_of_another_type_is_another_shape(key: str, wrong: Any) -> None:
    value = json.loads(RECORD.text(THING))
    with pytest.raises(OTHER_SHAPE):
        RECORD.read(json.dumps({**value, key: wrong}), id=7)


def test_none_is_read_where_it_may_be_and_an_int_is_a_float() -> None:
    value = json.loads(RECORD.text(THING))
    read = RECORD.read(json.dumps({**value, "boots": None, "seconds": 2}), id=7)
    assert (read.boots, read.seconds) == (None, 2)
