"""A real guest with four queue pairs and four CPUs."""

from __future__ import annotations

from tests.kit.waiting import wait_for
from tests.qemu.stage import stage

QUEUES = 4


def test_four_streams_flow_over_four_queues() -> None:
    with stage(serves=False) as at:
        at.boot(talks=True, queues=QUEUES)
        wait_for("all queues to be enabled", lambda: at.live()["queues"] == QUEUES, 60.0)
        wrong = at.wrong_checksums()
        assert at.tcp("-P", str(QUEUES)) > 0
        assert at.tcp("-P", str(QUEUES), "-R") > 0
        assert at.wrong_checksums() == wrong
        assert at.answers().duplicates == 0
