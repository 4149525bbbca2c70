"""Each broken file is answered with exactly the sentences beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

import schema

BROKEN = sorted((Path(__file__).parent / "broken").glob("*.yaml"))


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_a_broken_file(path: Path) -> None:
    with pytest.raises(schema.SpecError) as caught:
        schema.parse(path.read_bytes(), path.name)
    assert f"{caught.value}\n" == path.with_suffix(".txt").read_text(encoding="utf-8")


def test_there_are_enough_and_none_without_its_answer() -> None:
    assert len(BROKEN) >= 20
    answers = {path.stem for path in BROKEN[0].parent.glob("*.txt")}
    assert answers == {path.stem for path in BROKEN}


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_no_answer_shows_the_machinery(path: Path) -> None:
    answer = path.with_suffix(".txt").read_text(encoding="utf-8")
    for word in ("Traceback", "None", "True", "False", "is not of type", "does not match", "Error", "\\\\"):
        assert word not in answer
