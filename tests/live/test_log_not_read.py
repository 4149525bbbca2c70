"""Nobody reads what is logged any more: a log driver hangs, a `tee` is stopped. Reconciling goes on."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess

from tests.kit.instance import Instance
from tests.kit.spec_file import RelayLine
from tests.kit.waiting import wait_for


def relays(*ids: int) -> list[RelayLine]:
    return [RelayLine(id=each, vf=f"net_null{each}") for each in ids]


def test_a_log_that_nobody_reads_is_not_waited_for() -> None:
    reads, writes = os.pipe()
    with Instance.relaying(relays(1)) as instance:
        line = instance.command("run", str(instance.file))
        instance.processes["run"] = subprocess.Popen(line, env=instance.environment, stdout=writes, stderr=writes)
        instance.wait_applied()
        os.set_blocking(writes, False)  # for all who share it, until it is full
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writes, b"#" * 16)
        os.set_blocking(writes, True)
        for number in range(2, 6):
            instance.relay(relays(*range(1, number)))
            instance.wait_applied()
        pid = instance.engine_pid
        os.kill(pid, signal.SIGKILL)
        wait_for("another engine", lambda: instance.observed() is not None and instance.engine_pid != pid, 60.0)
        instance.wait_applied()
        os.close(writes)
        said = b""
        os.set_blocking(reads, False)

        def come() -> bytes:
            nonlocal said
            with contextlib.suppress(BlockingIOError):
                said += os.read(reads, 65536)
            return said

        wait_for("what was logged meanwhile", lambda: b"engine ended (killed by SIGKILL)" in come())
    os.close(reads)
