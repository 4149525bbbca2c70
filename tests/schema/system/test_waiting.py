from __future__ import annotations

import itertools

from schema.system.locks import wait_until


def test_the_first_answer_counts() -> None:
    answers = iter([None, False, 0, 7])
    assert wait_until(lambda: next(answers), 60.0, 0.0) == 0, "a number, as a descriptor is"
    assert next(answers) == 7


def test_without_time_it_is_asked_once() -> None:
    asked = itertools.count(1)
    assert wait_until(lambda: next(asked) < 0, 0.0) is False
    assert next(asked) == 2
