"""A host that can't answer for a moment: the watch says so, asks again, and goes on."""

from __future__ import annotations

import errno

import pytest

from tests.kit.fakes.table_host import TableHost
from tests.kit.fakes.watch_harness import WatchHarness, document


@pytest.mark.parametrize("question", ["cpu_nodes", "runs_on"])
def test_a_question_that_the_host_can_not_answer_is_asked_again(
    harness: WatchHarness, question: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it is asked for, and wherever: reading, looking, or applying."""

    asked = []

    def fails(*_: object) -> None:
        asked.append(question)
        raise OSError(errno.EMFILE, "Too many open files", "/sys/devices/system/node")

    with monkeypatch.context() as patch:
        patch.setattr(TableHost, question, fails)
        harness.file.write_text(document(1, 2))
        harness.until("a second try", lambda: len(asked) > 1)
    harness.until_relays(1, 2)
    harness.until("no fault", lambda: not harness.report.get("faults"))
