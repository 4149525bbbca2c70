"""YAML 1.2 core rules, positions, and bounds."""

from __future__ import annotations

import math
from typing import Any

import pytest

from schema.nodes import Place, Problem, SpecError, plain
from schema.yaml12 import MAX_DEPTH, MAX_NODES, read_document


def _read(text: str) -> tuple[Any, tuple[Problem, ...]]:
    document, problems = read_document(text, "f")
    return plain(document.root), problems


def _value(text: str) -> Any:
    value, problems = _read(f"k: {text}\n")
    assert not problems
    return value["k"]


@pytest.mark.parametrize(
    "text",
    [
        "0000:05:08.1",  # YAML 1.1: the float 308.1
        "0000:05:08.2",
        "05:08.1",
        "00:11:22:33:44:55",  # YAML 1.1: an integer of base 60
        "11:22:33:44:55:66",
        "1:2",  # YAML 1.1: 62
        "1:2.5",
        "190:20:30",
        "on",
        "off",
        "On",
        "OFF",
        "yes",
        "no",
        "Yes",
        "NO",
        "y",
        "n",
        "tRUE",
        "nULL",
        "none",
        "2M",
        "1_000",  # YAML 1.1: 1000
        "0b11",
        "0o8",
        "0xg",
        "-0x1",
        "2026-01-02",  # YAML 1.1: a date
        "2026-01-02T03:04:05Z",
        "=",
        "1e",
        ".",
        "e5",
        "1,5",
        "9" * 5000,  # Python refuses to convert it
        "/dev/hugepages",
        "net_af_packet0,iface=veth1",
        "virtio-forwarder%u.sock",
    ],
)
def test_what_stays_text(text: str) -> None:
    assert _value(text) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("Null", None),
        ("NULL", None),
        ("true", True),
        ("True", True),
        ("TRUE", True),
        ("false", False),
        ("False", False),
        ("FALSE", False),
        ("0", 0),
        ("-19", -19),
        ("+12", 12),
        ("0010", 10),  # YAML 1.1: 8
        ("0660", 660),
        ("0o660", 0o660),
        ("0x1F", 31),
        ("0xff", 255),
        ("1.0", 1.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e3", 1000.0),
        ("-1.5E-3", -0.0015),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("'null'", "null"),
        ('"true"', "true"),
        ("'10'", "10"),
        ("''", ""),
        ("[]", []),
        ("{}", {}),
    ],
)
def test_what_is_resolved(text: str, value: Any) -> None:
    got = _value(text)
    assert got == value
    assert type(got) is type(value)


def test_not_a_number() -> None:
    assert math.isnan(_value(".nan"))


def test_every_node_knows_its_place() -> None:
    document, problems = read_document("a:\n  - x: 1\n    y: {z: [1, 0000:05:08.1]}\n", "f")
    assert not problems
    assert document.place(("a",)) == Place(2, 3)
    assert document.place(("a", 0, "x")) == Place(2, 8)
    assert document.key_place(("a", 0, "y")) == Place(3, 5)
    assert document.place(("a", 0, "y", "z", 1)) == Place(3, 16)
    assert document.place(("a", 0, "missing")) == Place(2, 5)


def test_a_byte_order_mark_takes_no_column() -> None:
    document, _ = read_document("\ufeffa: 1\n", "f")
    assert document.key_place(("a",)) == Place(1, 1)


def test_aliases_stand_for_their_anchor_but_where_they_are() -> None:
    document, problems = read_document("a: &x [1, 2]\nb: *x\n", "f")
    assert not problems
    assert plain(document.root) == {"a": [1, 2], "b": [1, 2]}
    assert document.place(("b",)) == Place(2, 4)


def test_an_anchor_may_be_given_again() -> None:
    assert _read("a: &x 1\nb: &x 2\nc: *x\n")[0] == {"a": 1, "b": 2, "c": 2}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", "f:3:1: a: stands twice, first at line 1"),
        ("{a: 1, a: 2}", "f:1:8: a: stands twice, first at line 1, column 2"),
        ("a: 1\n'a': 3\n", "f:2:1: a: stands twice, first at line 1"),
        ("a: !!str 1\n", "f:1:4: a: the tag !!str is not allowed"),
        ("a: ! 1\n", "f:1:4: a: the tag ! is not allowed"),
        ("b: &b {}\na: {<<: *b}\n", "f:2:5: a.<<: merge keys"),
        ("? [1]\n: 2\n", "f:1:3: a key must be a plain word"),
        ("a: &a x\n*a : 1\n", "f:2:1: a key must be a plain word"),
        ('a: "b\\nc"\n', "f:1:4: a: holds a line break"),
    ],
)
def test_what_is_said_while_reading_on(text: str, words: str) -> None:
    _, problems = _read(text)
    assert [str(problem)[: len(words)] for problem in problems] == [words]


def test_both_duplicates_are_said_and_the_first_value_stands() -> None:
    value, problems = _read("a: 1\na: 2\na: 3\n")
    assert value == {"a": 1}
    assert [problem.line for problem in problems] == [2, 3]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the file is empty"),
        ("# nothing\n", "the file is empty"),
        ("a: 1\n---\nb: 1\n", "a second document"),
        ("a: *b\n", "no anchor &b"),
        ("a: &a [*a]\n", "inside what it stands for"),
        ("a: &a {b: *a}\n", "inside what it stands for"),
        ("[" * 100_000, "nested more than"),
        ("a: [" + "1, " * MAX_NODES + "1]\n", "more than 10,000 values"),
        ('a: "\\UFFFFFFFF"\n', "out of range"),
        ("%YAML " + "9" * 5000 + ".1\n---\na: 1\n", "out of range"),
        ("%YAML 2.0\n---\na: 1\n", "YAML version"),
        ('a: "\\q"\n', "escape is unknown"),
        ('a: "\\xZZ"\n', "escape"),
        ("a: 'b\n", "never closed"),
        ("a: 'b\n---\n", "never closed"),
        ("a: [1\n", "',' or ']' is missing"),
        ("a: {b: 1\n", "',' or '}' is missing"),
        ("a: 1\n b: 2\n", "a ':' is not expected"),
        ("a: 1\nb\n", "no ':' follows"),
        ("a: - 1\n", "list entry"),
        ("- 1\na: 1\n", "does not fit the lines above"),
        ("a: `x\n", "put the value in quotes"),
        ("a: *\n", "needs a name"),
        ("a: &\n", "needs a name"),
        ("a: |x\n", "several lines"),
        ("a: !x!y z\n", "tag"),
        ("a:\n\t- 1\n", "tab"),
        ("a: 1\n]\n", "does not fit the lines above"),
        ("[] x\n", "after the end"),
        ("a: \x00\n", "U+0000"),
        ("a: \ud800\n", "U+D800"),
    ],
)
def test_what_ends_the_reading(text: str, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        read_document(text, "f")
    assert words in caught.value.problems[-1].message


def test_a_million_laughs_are_not_expanded() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(SpecError, match="aliases counted"):
        read_document("\n".join(lines), "f")


def test_a_chain_of_aliases_is_as_deep_as_what_it_stands_for() -> None:
    lines = ["a0: &a0 []", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, MAX_DEPTH + 2))]
    with pytest.raises(SpecError, match="nested more than"):
        read_document("\n".join(lines), "f")
